"""Assemble the registry publication of the application: `python3 scripts/template.py [--output dist/template]`.

The result is what `s registry publish` wants: publish.yaml, readme.md, version.md, hook/, and src/ with s.yaml. The
code package is put in ready made, so that whoever deploys it needs neither pip nor Python 3.12.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path("dist") / "function.zip"


def latest_changes(changelog: str) -> str:
    """The newest version's section of a changelog in Markdown; all of it if it has no sections."""
    sections = re.split(r"(?m)^(?=## )", changelog)
    return sections[1] if len(sections) > 1 else changelog


def assemble(root: Path, output: Path) -> None:
    """Write the publication to `output`, replacing what is there. The code package must exist under `root`."""
    shutil.rmtree(output, ignore_errors=True)
    src = output / "src"
    for name in [*json.loads((root / "hook" / "files.json").read_text()), PACKAGE.as_posix()]:
        source, target = root / name, src / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
        else:
            shutil.copy2(source, target)
    shutil.copytree(root / "hook", output / "hook")
    shutil.copy2(root / "publish.yaml", output)
    shutil.copy2(root / "README.zh.md", output / "readme.md")
    (output / "version.md").write_text(latest_changes((root / "CHANGELOG.md").read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=ROOT / "dist" / "template")
    arguments = parser.parse_args()
    subprocess.run([sys.executable, ROOT / "scripts" / "package.py", "--if-changed"], check=True)  # noqa: S603
    assemble(ROOT, arguments.output)
    print(f"{arguments.output}: publish it with `s registry publish` there, or try it with `s init --uri` of a copy")


if __name__ == "__main__":
    main()
