from leadcast.store.database import Store
def test_it(store: Store) -> None:
    with store.lock("a") as a, store.lock("a") as b:
        assert (a, b) == (True, False)
    with store.lock("a") as a: assert a
