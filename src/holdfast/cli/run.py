"""`holdfast run module:app`: serve an application, held fast."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer


def run(
    target: Annotated[
        str, typer.Argument(metavar="MODULE:APP", help="The application, as uvicorn takes it.")
    ],
    host: Annotated[str | None, typer.Option(help="Address to listen on. [HOST, 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on. [PORT, 8000]")] = None,
    factory: Annotated[bool, typer.Option("--factory", help="APP is a function that makes it.")] = False,
    app_dir: Annotated[Path, typer.Option(help="Folder to import from.")] = Path(),
    env_file: Annotated[Path | None, typer.Option(help="Read the environment from this file too.")] = None,
    log_level: Annotated[
        str | None, typer.Option(help="Least level that is logged. [LOG_LEVEL, info]")
    ] = None,
    access_log: Annotated[
        bool, typer.Option("--access-log/--no-access-log", help="One line for each request.")
    ] = False,
    root_path: Annotated[str, typer.Option(help="Path under which a proxy serves it.")] = "",
    proxy_headers: Annotated[
        bool, typer.Option("--proxy-headers/--no-proxy-headers", help="Believe trusted proxies.")
    ] = True,
    forwarded_allow_ips: Annotated[str | None, typer.Option(help="Which proxies to trust.")] = None,
    timeout_keep_alive: Annotated[int, typer.Option(help="Seconds an idle connection is kept.")] = 5,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Serve MODULE:APP. While its database is away, requests wait instead of failing."""
    from holdfast.launch import Options
    from holdfast.launch import run as launch
    from holdfast.runtime.server import Speech
    from holdfast.settings.reading import Wanted

    given: dict[str, Any] = {"HOST": host, "PORT": port, "LOG_LEVEL": log_level}
    wanted = Wanted(
        folder=Path.cwd(),
        app_dir=app_dir.resolve(),
        default="production",
        env_file=env_file,
        options={name: str(value) for name, value in given.items() if value is not None},
    )
    speech = Speech(
        access_log=access_log,
        extra={
            "root_path": root_path,
            "proxy_headers": proxy_headers,
            "forwarded_allow_ips": forwarded_allow_ips,
            "timeout_keep_alive": timeout_keep_alive,
        },
    )
    sys.exit(launch(Options(target, wanted, factory, app_dir, debug, speech)))
