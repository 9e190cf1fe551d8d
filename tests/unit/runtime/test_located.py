"""What stands between `module:app` and the application is named, with the next step."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from holdfast.runtime.located import locate
from holdfast.settings.failure import StartFailure
from holdfast.settings.report import Misconfigured

APP = """
async def app(scope, receive, send):
    pass
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes files of an application; afterwards nothing of it stays imported."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def writer(**files: str) -> Path:
        for name, text in files.items():
            file = tmp_path / f"{name.replace('__', '/')}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(dedent(text))
        return tmp_path

    yield writer
    for name in set(sys.modules) - before:
        # Packages without an __init__.py have no file of their own.
        if str(getattr(sys.modules[name], "__file__", None) or tmp_path).startswith(str(tmp_path)):
            del sys.modules[name]


def refusal(target: str, folder: Path, factory: bool = False) -> StartFailure:
    with pytest.raises(StartFailure) as refused:
        locate(target, app_dir=folder, factory=factory)
    assert refused.value.phase in {"application", "environment"}
    return refused.value


def test_an_application_is_found(write: Write) -> None:
    """PRM-1."""
    folder = write(shop_a=APP)

    assert locate("shop_a:app", app_dir=folder).__name__ == "app"


def test_a_nested_attribute_is_found(write: Write) -> None:
    folder = write(shop__inner=APP + "class web:\n    inside = app\n")

    assert locate("shop.inner:web.inside", app_dir=folder).__name__ == "app"


def test_a_factory_is_called(write: Write) -> None:
    folder = write(shop_b=APP + "def create_app():\n    return app\n")

    assert locate("shop_b:create_app", app_dir=folder, factory=True).__name__ == "app"


def test_a_decorated_application_that_takes_anything_is_no_factory(write: Write) -> None:
    folder = write(shop_c="def app(*args, **kwargs):\n    pass\n")

    assert callable(locate("shop_c:app", app_dir=folder))


def test_without_a_colon_the_applications_there_are_suggested(write: Write) -> None:
    said = refusal("shop_d", write(shop_d=APP.replace("app", "api")))

    assert "must be module:attribute" in said.description
    assert said.action == "Did you mean: shop_d:api"
    assert said.exit_status == 66


@pytest.mark.parametrize("target", ["shop_e.py", "./shop_e.py", "shop_e.py:app", "shop_e/:app"])
def test_a_file_name_is_turned_into_a_module(write: Write, target: str) -> None:
    said = refusal(target, write(shop_e=APP))

    assert said.action == "Did you mean: shop_e:app"


@pytest.mark.parametrize("target", ["", ":app", "broken_e", "shop e:app"])
def test_what_is_no_target_gets_an_example(write: Write, target: str) -> None:
    said = refusal(target, write(broken_e="1/0"))

    assert ":app" in said.action


def test_a_misspelt_module_gets_the_nearest(write: Write) -> None:
    said = refusal("storefrnt:app", write(storefront_f=APP, other_f=""))

    assert "There is no module 'storefrnt' in" in said.description
    assert said.action == "Did you mean: storefront_f:app"
    assert said.exit_status == 66


def test_a_module_in_another_folder_is_pointed_out(write: Write) -> None:
    said = refusal("deep_shop:app", write(src__deep_shop=APP))

    assert "start with --app-dir src, or as src.deep_shop:app" in said.action


def test_when_nothing_is_near_the_modules_there_are_listed(write: Write) -> None:
    assert "zzz_one, zzz_two" in refusal("qqq:app", write(zzz_one="", zzz_two="")).action


def test_an_empty_folder_is_said_to_be_empty(tmp_path: Path, write: Write) -> None:
    assert "No Python file is there" in refusal("qqq:app", tmp_path).action


def test_a_missing_import_inside_is_not_taken_for_the_target(write: Write) -> None:
    said = refusal("shop_g:app", write(shop_g="import os\nimport fastapy_not_there.routing\n"))

    assert "shop_g.py:2 (importing shop_g): there is no module 'fastapy_not_there'" in said.description
    assert "Install what provides 'fastapy_not_there'" in said.action
    assert said.exit_status == 70


def test_a_misspelt_import_of_the_applications_own_gets_the_nearest(write: Write) -> None:
    said = refusal("shop_h:app", write(shop_h="import orders_hh\n", orders_h=""))

    assert "Did you mean orders_h?" in said.action


def test_a_name_that_cannot_be_imported_is_told_with_its_line(write: Write) -> None:
    said = refusal("shop_i:app", write(shop_i="\nfrom models_i import Ordr\n", models_i=""))

    assert "shop_i.py:2" in said.description
    assert "ImportError: cannot import name 'Ordr'" in said.description
    assert "Correct the name" in said.action


def test_a_circular_import_is_called_so(write: Write) -> None:
    said = refusal(
        "ring_a:app", write(ring_a="from ring_b import b\na = 1\n", ring_b="from ring_a import a\nb = 1\n")
    )

    assert "Two modules import each other" in said.action


def test_a_misspelt_attribute_gets_the_nearest_and_the_applications(write: Write) -> None:
    said = refusal("shop_j:ap", write(shop_j=APP + "other = app\n"))

    assert said.description == "shop_j has no 'ap'."
    assert "Did you mean: shop_j:app" in said.action
    assert said.exit_status == 66


def test_an_attribute_unlike_any_gets_the_applications(write: Write) -> None:
    said = refusal("shop_k:zzz", write(shop_k=APP))

    assert said.action == "Applications in shop_k: app"


def test_a_misspelt_nested_attribute_is_corrected_in_its_place(write: Write) -> None:
    said = refusal("shop_l:web.insde", write(shop_l=APP + "class web:\n    inside = 1\n"))

    assert said.description == "shop_l.web has no 'insde'."
    assert "shop_l:web.inside" in said.action


def test_an_empty_module_gets_an_example(write: Write) -> None:
    assert "for example app = FastAPI()" in refusal("shop_m:app", write(shop_m="")).action


def test_a_syntax_error_is_shown_with_its_line_and_a_caret(write: Write) -> None:
    """BOOT-6: no traceback."""
    said = refusal("shop_n:app", write(shop_n="import os\nif True:\n    def broken(:\n        pass\n"))

    lines = said.description.splitlines()
    assert lines[0].startswith("shop_n.py:3: SyntaxError: ")
    assert lines[1:] == ["    def broken(:", "               ^"]
    assert said.exit_status == 70


def test_a_syntax_error_on_a_line_with_a_password_does_not_show_it(write: Write) -> None:
    said = refusal("shop_o:app", write(shop_o="URL = = 'postgresql://app:hunter2@db/shop'\n"))

    assert "shop_o.py:1" in said.description
    assert "hunter2" not in str(said)


def test_an_exception_is_told_with_the_innermost_line_of_the_application(write: Write) -> None:
    """BOOT-6: type, text without secrets, place; the original is the cause, for --debug."""
    files = {
        "shop_p": "import config_p\n",
        "config_p": "import json\n\ndef read():\n    json.loads('{')\n\nread()\n",
    }
    said = refusal("shop_p:app", write(**files))

    assert "config_p.py:4 (importing shop_p): JSONDecodeError: Expecting property name" in said.description
    assert "--debug" in said.action
    assert "Traceback" not in str(said)
    assert type(said.__cause__).__name__ == "JSONDecodeError"


def test_the_text_of_an_exception_is_redacted_and_bounded(write: Write) -> None:
    """RED-1."""
    code = "raise RuntimeError('cannot reach postgresql://app:hunter2@db/shop ' + 'x' * 5000)\n"
    said = refusal("shop_q:app", write(shop_q=code))

    assert "hunter2" not in str(said)
    assert len(said.description) < 1000


def test_an_exception_without_a_readable_text_is_told_all_the_same(write: Write) -> None:
    code = "class E(Exception):\n    def __str__(self): raise ValueError\nraise E\n"

    assert "E: (its text cannot be read)" in refusal("shop_r:app", write(shop_r=code)).description


def test_a_models_validation_error_hides_what_it_was_given(write: Write) -> None:
    code = "import pydantic\nclass M(pydantic.BaseModel):\n    n: int\nM(n='hunter2')\n"
    said = refusal("shop_s:app", write(shop_s=code))

    assert "ValidationError: n: Input should be a valid integer" in said.description
    assert "hunter2" not in str(said)


def test_settings_that_refuse_at_import_are_told_by_variable(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENV-3: a plain application with pydantic-settings of its own."""
    monkeypatch.setenv("SHOP_SLOTS", "hunter2")
    code = """
        from pydantic_settings import BaseSettings
        class Settings(BaseSettings):
            shop_dsn: str
            shop_slots: int
        settings = Settings()
    """
    folder = write(shop_t="import config_t\n", config_t=code)
    (folder / ".env.example").write_text("SHOP_DSN=postgresql://db/shop # where the orders are\n")
    said = refusal("shop_t:app", folder)

    assert isinstance(said, Misconfigured)
    assert [one.name for one in said.problems] == ["SHOP_DSN", "SHOP_SLOTS"]
    assert "SHOP_DSN is missing | where the orders are | for example SHOP_DSN=postgresql://db/shop" in str(
        said
    )
    assert "hunter2" not in str(said)
    assert said.exit_status == 78


def test_a_variable_read_from_environ_and_missing_is_told_by_name(write: Write) -> None:
    """ENV-3."""
    said = refusal("shop_u:app", write(shop_u="import os\nKEY = os.environ['SHOP_U_REGION']\n"))

    assert isinstance(said, Misconfigured)
    assert "SHOP_U_REGION is missing; shop_u.py:2 reads it" in said.description


def test_another_key_error_is_no_variable(write: Write) -> None:
    said = refusal("shop_v:app", write(shop_v="{}['SHOP_V']\n"))

    assert "KeyError: 'SHOP_V'" in said.description
    assert said.exit_status == 70


def test_a_module_that_ends_the_process_is_told(write: Write) -> None:
    said = refusal("shop_w:app", write(shop_w="import sys\nsys.exit('bye')\n"))

    assert (
        "shop_w.py:2 (importing shop_w): the application ended the process with status 'bye'"
        in said.description
    )


def test_a_refusal_of_ours_inside_the_application_passes_untouched(write: Write) -> None:
    code = "from holdfast.settings.settings import Settings\nSettings.from_environment({'PORT': 'x'})\n"

    said = refusal("shop_x:app", write(shop_x=code))

    assert isinstance(said, Misconfigured)
    assert [one.name for one in said.problems] == ["PORT"]


def test_a_factory_without_the_option_is_told(write: Write) -> None:
    said = refusal("shop_y:create_app", write(shop_y="def create_app(debug=False):\n    1 / 0\n"))

    assert "a factory, not an application" in said.description
    assert said.action == "Start it with --factory: shop_y:create_app --factory"


def test_the_option_without_a_factory_is_told(write: Write) -> None:
    said = refusal("shop_z:app", write(shop_z=APP), factory=True)

    assert said.action == "Leave --factory out: shop_z:app"


def test_a_factory_that_raises_is_told_with_its_line(write: Write) -> None:
    code = "def create_app():\n    raise OSError('no templates')\n"
    said = refusal("fact_a:create_app", write(fact_a=code), factory=True)

    assert said.description == "fact_a.py:2 (calling fact_a:create_app): OSError: no templates"
    assert said.exit_status == 70


def test_a_factory_that_needs_arguments_is_told(write: Write) -> None:
    said = refusal("fact_b:create_app", write(fact_b="def create_app(settings):\n    pass\n"), factory=True)

    assert "it needs 1" in said.description
    assert "Give them defaults" in said.action


def test_an_async_factory_is_told(write: Write) -> None:
    said = refusal("fact_c:create_app", write(fact_c="async def create_app():\n    pass\n"), factory=True)

    assert "returned a coroutine" in said.description
    assert "a plain function" in said.action


@pytest.mark.parametrize("parameters", ["", "*, title='shop'", "**options"])
def test_an_async_factory_is_no_application(write: Write, parameters: str) -> None:
    """BOOT-6: it would be ready, and answer every request with 500."""
    module = f"fact_async_{len(parameters)}"
    code = APP + f"async def make({parameters}):\n    return app\n"
    said = refusal(f"{module}:make", write(**{module: code}))

    assert said.description == f"{module}:make is an async function without arguments, not an application."
    assert said.action.startswith("Make make a plain function (def)")


def test_an_async_application_that_takes_anything_is_no_factory(write: Write) -> None:
    folder = write(shop_any="async def app(*args):\n    pass\n")

    assert callable(locate("shop_any:app", app_dir=folder))


def test_a_factory_that_returns_nothing_is_told(write: Write) -> None:
    said = refusal("fact_d:create_app", write(fact_d="def create_app():\n    pass\n"), factory=True)

    assert said.description == "fact_d:create_app returned NoneType, not an application."


def test_what_cannot_be_called_is_told_with_what_could(write: Write) -> None:
    said = refusal("call_a:name", write(call_a=APP + "name = 'shop'\n"))

    assert said.description == "call_a:name is a str, not an application."
    assert said.action == "Applications in call_a: app"


def test_a_class_is_told_from_its_instances(write: Write) -> None:
    code = "class Web:\n    async def __call__(self, scope, receive, send): pass\n"
    said = refusal("class_a:Web", write(class_a=code + "app = Web()\n"))

    assert said.description == "class_a:Web is a class, not an application made from it."
    assert said.action == "Name an instance of it: app"
    assert refusal("class_b:Web", write(class_b=code)).action == "Name an instance of one: app = Web()"


@pytest.mark.parametrize(
    "code",
    [
        """
class Web:
    def __init__(self, scope): self.scope = scope
    async def __call__(self, receive, send): await send(self.scope["path"])
""",
        """
def Web(scope):
    async def serve(receive, send): await send(scope["path"])
    return serve
""",
        """
class Router:
    def __call__(self, scope):
        async def serve(receive, send): await send(scope["path"])
        return serve
Web = Router()
""",
    ],
    ids=["class", "function", "instance"],
)
async def test_an_application_of_the_old_kind_is_called_as_it_wants(write: Write, code: str) -> None:
    """PRM-5, ASGI 2: made with the scope, called with the rest, as uvicorn has it."""
    sent: list[object] = []

    async def send(message: object) -> None:
        sent.append(message)

    await locate("class_c:Web", app_dir=write(class_c=code))({"path": "/items"}, None, send)

    assert sent == ["/items"]


def test_an_endpoint_that_is_awaited_is_not_of_the_old_kind(write: Write) -> None:
    """Starlette's: made with all three."""
    code = """
        class Web:
            def __init__(self, scope, receive, send): pass
            def __await__(self): yield
    """

    assert locate("class_d:Web", app_dir=write(class_d=code)).__name__ == "Web"


@pytest.mark.parametrize(
    "code",
    [
        "def app(environ, start_response): pass\n",
        "class Flask:\n    def __call__(self, environ, start_response): pass\napp = Flask()\n",
    ],
)
def test_a_wsgi_application_is_told(write: Write, code: str) -> None:
    said = refusal("wsgi_a:app", write(wsgi_a=code))

    assert "wsgi_a:app is a WSGI application" in said.description
    assert "asgi.py" in said.action
    assert "app_asgi = WSGIMiddleware(app)" in said.action
    assert "from asgiref.wsgi import WsgiToAsgi" in said.action


def test_what_cannot_be_called_and_nothing_that_could(write: Write) -> None:
    assert "made by FastAPI()" in refusal("call_b:name", write(call_b="name = 1\n")).action


# ── a package, started from inside ────────────────────────────────────────────────────────────────


@pytest.fixture
def inside(write: Write, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes files, makes packages of folders, and goes into one."""

    def go(folder: str, *packages: str, **files: str) -> Path:
        root = write(**files)
        for package in packages:
            (root / package / "__init__.py").touch()
        place = root / folder
        monkeypatch.chdir(place)
        return place

    return go


def test_a_relative_import_outside_its_package_is_told_how_it_is_started(inside: Callable[..., Path]) -> None:
    """BOOT-6: `from .models import Item`, and its target is app:app."""
    code = APP + "from .models import Item\n"
    folder = inside("bazaar", "bazaar", bazaar__stall_a=code, bazaar__models="Item = 1\n")

    said = refusal("stall_a:app", folder)

    assert "stall_a.py:4 (importing stall_a): ImportError: attempted relative import" in said.description
    assert "start as bazaar.stall_a:app --app-dir .." in said.action


def test_the_outermost_package_is_meant(inside: Callable[..., Path]) -> None:
    """BOOT-6: `from ..models import Item`, one folder too deep."""
    code = "from ..models import Item\n"
    folder = inside("bazaar", "bazaar", "bazaar/api", bazaar__api__stall_b=code)

    said = refusal("api.stall_b:app", folder)

    assert "start as bazaar.api.stall_b:app --app-dir .." in said.action


def test_a_package_that_is_where_we_stand_is_pointed_out(inside: Callable[..., Path]) -> None:
    """BOOT-6: `from bazaar.models import Item`, and its target is app:app."""
    folder = inside("bazaar", bazaar__stall_c="from bazaar.models import Item\n", bazaar__models="Item = 1\n")

    said = refusal("stall_c:app", folder)

    assert "there is no module 'bazaar'" in said.description
    assert "start as bazaar.stall_c:app --app-dir .." in said.action
    assert "Otherwise install what provides 'bazaar'" in said.action


@pytest.mark.parametrize("packages", [[], ["bazaar"]], ids=["plain folder", "package"])
def test_a_target_named_from_outside_is_given_its_folder(
    inside: Callable[..., Path], packages: list[str]
) -> None:
    """BOOT-6: started inside, named as from outside."""
    folder = inside("bazaar", *packages, bazaar__stall_d=APP)

    said = refusal("bazaar.stall_d:app", folder)

    assert said.action.endswith("start as bazaar.stall_d:app --app-dir ..")
    assert locate("bazaar.stall_d:app", app_dir=folder.parent).__name__ == "app"


# ── what an import expects of the loop ────────────────────────────────────────────────────────────


async def test_a_loop_that_runs_already_is_explained(write: Write) -> None:
    """BOOT-6: as under every uvicorn before 0.47."""
    code = (
        "import asyncio\nasync def init(): pass\none = init()\ntry: asyncio.run(one)\nfinally: one.close()\n"
    )

    said = refusal("loop_a:app", write(loop_a=code))

    assert "do this in its lifespan" in said.action
    assert "uvicorn 0.47" in said.action


def test_a_loop_that_does_not_run_yet_is_explained(write: Write) -> None:
    """BOOT-6: as under every uvicorn since 0.47."""
    said = refusal("loop_b:app", write(loop_b="import asyncio\nasyncio.get_running_loop()\n"))

    assert "No loop runs yet while the application is imported: do this in its lifespan" in said.action
