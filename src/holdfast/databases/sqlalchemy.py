"""SQLAlchemy's engines in our words: found through its plugin interface, seen through its dialect.

Every call that reaches a database goes through a documented method of the engine's `Dialect`
(`connect`, `do_execute`…, `do_commit`…), so those of the instance are wrapped: four function calls
a query, and none of the engine-wide event machinery. `docs/decisions/0002` has the figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any

from sqlalchemy import create_engine, make_url
from sqlalchemy.engine import URL, CreateEnginePlugin, Engine
from sqlalchemy.pool import QueuePool

from holdfast.databases.adopt import REGISTRY, PoolRules
from holdfast.databases.sqlalchemy_driver import PORTS, EngineDriver
from holdfast.databases.sqlalchemy_hooks import Hooks
from holdfast.databases.sqlalchemy_unsaved import listen, stop_listening
from holdfast.events import BUS, HookSkipped
from holdfast.faults.redact import redact_text, redact_url

PLUGIN = "holdfast"
_POOL_CHOICES = ("pool_size", "max_overflow")


class HoldfastPlugin(CreateEnginePlugin):
    """Adopts the engine it is given to; `create_engine(url, plugins=["holdfast"])`.

    With a `Holdfast` in the process every engine gets it, without being asked. What the
    application chose for its pool stays; what it left to SQLAlchemy follows `PoolRules`.
    """

    def __init__(self, url: URL, kwargs: dict[str, Any]) -> None:
        rules = REGISTRY.rules
        self._idle_limit = 0.0
        self._networked = url.get_backend_name() != "sqlite"
        self._connect_args = dict(kwargs.get("connect_args") or {})
        self._creates = kwargs.get("creator") is not None
        if rules.active and rules.hide_parameters:
            kwargs.setdefault("hide_parameters", True)

    def update_url(self, url: URL) -> URL:
        """The URL stays as it is: SQLAlchemy itself takes our name out of it."""
        return url

    def handle_pool_kwargs(self, pool_cls: type[Any], pool_args: dict[str, Any]) -> None:
        rules = REGISTRY.rules
        if rules.active and self._networked and issubclass(pool_cls, QueuePool):
            self._idle_limit = _fill(pool_args, rules)

    def engine_created(self, engine: Engine) -> None:
        """Adopt it."""
        _adopt(engine, None, {} if self._creates else _told(engine, self._connect_args))
        hooks: Hooks | None = getattr(engine, "_holdfast_hooks", None)
        if hooks is not None:
            hooks.driver.idle_limit = self._idle_limit


def _fill(pool_args: dict[str, Any], rules: PoolRules) -> float:
    """Complete *pool_args*; the seconds after which a connection is surplus, 0 for never."""
    ours = not any(choice in pool_args for choice in _POOL_CHOICES)
    if ours:
        pool_args["pool_size"] = rules.size
        pool_args["max_overflow"] = 0
    pool_args.setdefault("timeout", rules.acquire_timeout)
    pool_args.setdefault("recycle", rules.max_age)
    pool_args.setdefault("use_lifo", True)  # so that the surplus lies idle instead of taking turns
    return rules.idle if ours else 0.0


def adopt(engine: Any, name: str | None = None) -> str:
    """Make *engine* (async or sync) known, under *name* if given; the name it is known by.

    Fails open: an engine that cannot be hooked works as before, and one warning says why.
    """
    return _adopt(engine, name, None)


def _adopt(engine: Any, name: str | None, told: Mapping[str, Any] | None) -> str:
    """*told* is what its driver is told of the server; nothing where nobody can know."""
    engine = getattr(engine, "sync_engine", engine)
    while hasattr(engine, "_proxied"):  # derived by execution options: it shares dialect and pool
        engine = engine._proxied
    hooks = getattr(engine, "_holdfast_hooks", None)
    if hooks is not None:
        if name is not None:
            REGISTRY.rename(hooks.database, name)
        return str(hooks.database.name)
    url = engine.url
    backend = url.get_backend_name()
    told = _told(engine, {}) if told is None else told
    driver = EngineDriver(engine, told)
    place = _place(engine, told)
    database = REGISTRY.adopt(place, name or url.database or backend, _target(url), lambda: driver)
    try:
        hooks = Hooks(engine, database, driver)
        hooks.install()
    except (AttributeError, TypeError) as error:
        BUS.publish(HookSkipped(library="sqlalchemy", cause=f"{_target(url)}: {error}"))
    else:
        engine._holdfast_hooks = hooks
        listen()
    if database.driver is not driver:
        driver.let_go(partial(database.forget, driver))
    return database.name


def stand_in(address: str) -> str | None:
    """Make the database at *address* known before the application has built its engine; its name.

    None when no driver for it is installed: then the application's own engine tells later.
    Raises ValueError, which finishes the sentence "NAME ...", when SQLAlchemy cannot read it.
    """
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        url = _with_driver(make_url(address.replace("postgres://", "postgresql://", 1)))
        if url is None or url.get_backend_name() == "sqlite":
            return None
        if url.get_dialect().is_async:
            from sqlalchemy.ext.asyncio import create_async_engine

            engine: Engine = create_async_engine(url).sync_engine
        else:
            engine = create_engine(url)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        cause = f"{redact_url(address)}: {redact_text(str(error))}"
        BUS.publish(HookSkipped(library="sqlalchemy", cause=cause))
        return None
    except ValueError:
        # Several hosts, or half of a password in place of the port: not its words, which quote that.
        raise ValueError(
            "is a URL of several hosts, or of another kind that SQLAlchemy cannot read"
        ) from None
    hooks: Hooks = engine._holdfast_hooks  # type: ignore[attr-defined]
    hooks.driver.provisional = True
    return hooks.database.name


def _with_driver(url: URL) -> URL | None:
    """*url* with a driver that is installed; a plain `postgresql://` leaves the choice to us."""
    if url.get_backend_name() != "postgresql" or "+" in url.drivername:
        return url
    for driver in ("psycopg", "asyncpg"):
        if find_spec(driver) is not None:
            return url.set(drivername=f"postgresql+{driver}")
    return None


def _told(engine: Any, connect_args: Mapping[str, Any]) -> dict[str, Any]:
    """What the driver of *engine* is told, wherever that stands: in the URL, its query, or the call."""
    return {**engine.dialect.create_connect_args(engine.url)[1], **connect_args}


def _place(engine: Engine, told: Mapping[str, Any]) -> tuple[object, ...]:
    """What makes two engines speak of the same database; one of its own where nobody can tell."""
    url = engine.url
    backend = url.get_backend_name()
    if backend == "sqlite" and told and url.database not in (None, "", ":memory:"):
        return (backend, url.database)
    where = [told.get(name) for name in ("host", "hostaddr", "service", "dsn")]
    if not any(where):
        return (id(engine),)
    port = told.get("port") or PORTS.get(backend)
    database = told.get("dbname") or told.get("database") or url.database
    return (backend, *map(str, where), str(port), str(database))


def _target(url: URL) -> str:
    return redact_url(url.render_as_string(hide_password=True))


def activate() -> None:
    """Give the plugin to every engine that this process creates from now on. Idempotent.

    SQLAlchemy has no hook for "an engine was created", only plugins named in the URL or the call;
    so the one function that collects them is wrapped. Where it is missing, a warning says so.
    """
    collect = getattr(URL, "_instantiate_plugins", None)
    if collect is None:
        BUS.publish(
            HookSkipped(
                library="sqlalchemy", cause="engines cannot be found by themselves; name them in code"
            )
        )
        return
    if getattr(collect, "holdfast", False):
        return
    from sqlalchemy.dialects import plugins

    plugins.register(PLUGIN, __name__, HoldfastPlugin.__name__)

    def with_ours(url: URL, kwargs: dict[str, Any]) -> Any:
        named = [*_listed(url.query.get("plugin")), *kwargs.get("plugins", ())]
        if PLUGIN not in named:
            kwargs = {**kwargs, "plugins": [*kwargs.get("plugins", ()), PLUGIN]}
        return collect(url, kwargs)

    with_ours.holdfast = True  # type: ignore[attr-defined]
    with_ours.original = collect  # type: ignore[attr-defined]
    URL._instantiate_plugins = with_ours  # type: ignore[method-assign,assignment]


def deactivate() -> None:
    """Engines created from now on are left alone."""
    original = getattr(getattr(URL, "_instantiate_plugins", None), "original", None)
    if original is not None:
        URL._instantiate_plugins = original  # type: ignore[method-assign]
    stop_listening()


def _listed(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)  # type: ignore[arg-type]


__all__ = ["HoldfastPlugin", "activate", "adopt", "deactivate"]
