"""From what was measured to the rows of the table. The targets stand here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.imports import DAG_FILE, PLUGIN_FILE, Import
from bench.leads import TYPES
from bench.plain import Plain
from bench.posting import Posting
from bench.quiet import Quiet, Wave, delivery_parts, steps, until_final_s
from bench.report import Row, Section, p95, spread

MAX_PROCESSES = len(TYPES) + 2
MAX_LATENCY_RATIO = 0.5
MAX_IMPORT_S = 0.050
MAX_POST_S = 0.050


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All that was measured in one run.

    plain: with Airflow's defaults. plain_quick: with the settings of our stack.
    """

    quiet: Quiet
    posting: Posting
    dag: Import
    plugin: Import
    plain: Plain
    plain_quick: Plain

    def samples(self) -> dict[str, Sequence[float]]:
        """Every single value, for the file."""
        return {
            "quiet_latency_s": [wave.latency_s for wave in self.quiet.waves],
            "quiet_until_run_s": [wave.until_run_s for wave in self.quiet.waves],
            "quiet_processes": [wave.run.processes for wave in self.quiet.waves],
            "plain_latency_s": self.plain.latencies_s,
            "plain_with_our_settings_latency_s": self.plain_quick.latencies_s,
            "plain_processes": [run.processes for run in self.plain.runs],
            "dag_import_s": self.dag.times_s,
            "plugin_import_s": self.plugin.times_s,
            "post_s": self.posting.latencies_s,
        }


def sections(measured: Measured) -> list[Section]:
    """The table."""
    waves = measured.quiet.waves
    return [
        Section(
            title=f"A quiet lead to {len(TYPES)} integrations",
            rows=tuple(_quiet(measured.quiet, measured.plain, measured.plain_quick)),
        ),
        Section(title="Import on top of Airflow, in each task process", rows=tuple(_imports(measured))),
        Section(title="POST /send-batch, one client", rows=tuple(_posting(measured.posting))),
        Section(title="Where the time of a quiet lead goes (medians)", rows=tuple(_steps(waves))),
        Section(title="Within a delivery's process (medians)", rows=tuple(_parts(waves))),
    ]


def _quiet(quiet: Quiet, plain: Plain, plain_quick: Plain) -> list[Row]:
    ours = [wave.latency_s for wave in quiet.waves]
    ours_until_run = [wave.until_run_s for wave in quiet.waves]
    ratio = median(ours) / median(plain.latencies_s)
    processes = max(wave.run.processes for wave in quiet.waves)
    plain_processes = max(run.processes for run in plain.runs)
    return [
        Row(
            what="task instances that cost a process",
            ours=str(processes),
            plain=str(plain_processes),
            ratio=processes / plain_processes,
            target=f"≤ {MAX_PROCESSES}",
            met=processes <= MAX_PROCESSES,
        ),
        Row(
            what=f"POST → final status, median of {len(ours)}",
            ours=spread(ours),
            plain=spread(plain.latencies_s),
            ratio=ratio,
            target=f"ratio ≤ {MAX_LATENCY_RATIO}",
            met=ratio <= MAX_LATENCY_RATIO,
        ),
        Row(
            what="POST → the run's state is success",
            ours=spread(ours_until_run),
            plain=spread(plain.latencies_s),
            ratio=median(ours_until_run) / median(plain.latencies_s),
        ),
        Row(
            what="the same, plain Airflow with our settings",
            ours=spread(ours_until_run),
            plain=spread(plain_quick.latencies_s),
            ratio=median(ours_until_run) / median(plain_quick.latencies_s),
        ),
        Row(
            what="processor time of the task processes",
            ours=f"{quiet.cpu_s:.2f} s",
            plain=f"{plain.cpu_s:.2f} s",
            ratio=quiet.cpu_s / plain.cpu_s,
        ),
        Row(what="all have arrived", ours=str(quiet.arrivals), plain=str(plain.arrivals)),
    ]


def _imports(measured: Measured) -> list[Row]:
    dag, plugin = measured.dag, measured.plugin
    heavy = sorted({*dag.heavy, *plugin.heavy})
    return [
        Row(
            what=f"{DAG_FILE}, median of {len(dag.times_s)}",
            ours=spread(dag.times_s, unit="ms"),
            target=f"≤ {MAX_IMPORT_S * 1000:.0f} ms",
            met=median(dag.times_s) <= MAX_IMPORT_S,
        ),
        Row(what=f"{PLUGIN_FILE}, median of {len(plugin.times_s)}", ours=spread(plugin.times_s, unit="ms")),
        Row(what="heavy packages that come with them", ours=", ".join(heavy) or "none", target="none", met=not heavy),
    ]


def _posting(posting: Posting) -> list[Row]:
    middle = median(posting.latencies_s)
    return [
        Row(
            what=f"answer, median of {len(posting.latencies_s)}",
            ours=f"{middle * 1000:.0f} ms",
            target=f"< {MAX_POST_S * 1000:.0f} ms",
            met=middle < MAX_POST_S,
        ),
        Row(what="answer, 95th percentile", ours=f"{p95(posting.latencies_s) * 1000:.0f} ms"),
        Row(what=f"runs that {posting.batches} batches made", ours=str(posting.runs)),
        Row(
            what="until all were delivered",
            ours=f"{posting.drained_s:.0f} s ({60 * posting.batches / posting.drained_s:.0f} leads/min)",
        ),
        Row(what="all have arrived", ours=str(posting.arrivals)),
    ]


def _steps(waves: Sequence[Wave]) -> list[Row]:
    final = Row(
        what="POST → the status is final in the ledger", ours=f"{median(until_final_s(wave) for wave in waves):.2f} s"
    )
    return [*_medians([steps(wave) for wave in waves]), final]


def _parts(waves: Sequence[Wave]) -> list[Row]:
    return _medians([delivery_parts(wave) for wave in waves])


def _medians(found: Sequence[dict[str, float]]) -> list[Row]:
    return [Row(what=name, ours=f"{median(one[name] for one in found):.2f} s") for name in found[0]]
