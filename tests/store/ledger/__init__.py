"""The model of the ledger that tests/store/test_ledger_model.py plays through."""
