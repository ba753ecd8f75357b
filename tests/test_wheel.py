"""The wheel, installed where nothing else of this project is: it holds the SQL and the prompts, and it runs."""

from __future__ import annotations

import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_every_file_of_sql_and_prompts(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for top in ("sql", "prompts"):
        files = [path for path in (ROOT / top).rglob("*") if path.is_file()]
        assert files
        missing = [path for path in files if f"synalign/_{top}/{path.relative_to(ROOT / top).as_posix()}" not in names]
        assert not missing
    data = [path for path in (ROOT / "synalign").rglob("*") if path.suffix in (".sql", ".toml", ".typed")]
    assert len(data) > 2
    assert not [path for path in data if path.relative_to(ROOT).as_posix() not in names]
    assert not [name for name in names if name.startswith(("tests", "fixtures"))]


def test_the_wheel_runs_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """A new environment sees this one's libraries by a path file, and of SynAlign the wheel alone."""
    _run_in_environment(wheel, tmp_path, libraries=True)


@pytest.mark.long
def test_the_wheel_and_its_requirements_install_in_a_clean_environment(wheel: Path, tmp_path: Path) -> None:
    _run_in_environment(wheel, tmp_path, libraries=False)
    python = tmp_path / "environment" / "bin" / "python"
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    )
    assert len(listed.stdout.split()) <= 60, listed.stdout


def _run_in_environment(wheel: Path, folder: Path, libraries: bool) -> None:
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel]
    if libraries:
        (own,) = environment.glob("lib/python*/site-packages")
        (own / "libraries.pth").write_text("\n".join(site.getsitepackages()))
        install.append("--no-deps")
    subprocess.run(install, check=True, cwd=folder)
    program = (
        "import synalign, sys\n"
        "assert 'environment' in synalign.__file__, synalign.__file__\n"
        f"ws = synalign.open('w'); ws.ingest({str(ROOT / 'fixtures' / 'support.csv')!r}, label='label')\n"
        "ws.cluster(k=6); ws.select(); ws.reason(); ws.generate(per_selection=3); ws.align(features=64)\n"
        "print(ws.sql('select sum(weight) from synthetic_weighted').fetchall()[0][0])\n"
    )
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(1.0)
    helped = subprocess.run([environment / "bin" / "synalign", "--help"], capture_output=True, text=True, check=True)
    assert "ingest" in helped.stdout
