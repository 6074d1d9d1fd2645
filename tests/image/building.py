"""The Dockerfile's steps, carried out without a container engine.

Each instruction is read from the Dockerfile, and its RUN lines are run as they stand. A mount
namespace puts /opt where the image has it, so that the virtual environment knows its own place; the
finished one is then started in a root of its own that is read-only, has no shell, and belongs to
another user. Linux with `unshare` is needed, and a network for pip.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "Dockerfile"
# A user namespace is what those need who are not root; it knows no other users.
TMP = "/tmp"  # noqa: S108 -- the image's
UNSHARE = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
_SECONDS = 300


@dataclass(slots=True)
class Stage:
    """One stage of the Dockerfile: what it runs, and what it leaves to the process."""

    copies: list[list[str]] = field(default_factory=list)
    steps: list[tuple[str, str]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)


def stages() -> list[Stage]:
    """The stages, with COPY and RUN in order; comments are left out and lines joined."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text("utf-8"), flags=re.MULTILINE)
    found: list[Stage] = []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            found.append(Stage())
        elif not word or not found:
            continue
        elif word == "ENV":
            found[-1].environment |= dict(one.split("=", 1) for one in shlex.split(rest))
        elif word in {"COPY", "RUN"}:
            found[-1].steps.append((word, rest))
        else:
            found[-1].settings[word] = rest
    return found


def build(folder: Path) -> Path:
    """Carry out the first stage below `folder` and return the virtual environment it made.

    Raises subprocess.CalledProcessError with what a step printed.
    """
    source, opt, python = folder / "src", folder / "opt", folder / "python"
    source.mkdir()
    opt.mkdir()
    # The base image's Python, which build tools are installed into.
    venv.create(python, with_pip=True, symlinks=True)
    stage = stages()[0]
    for word, rest in stage.steps:
        if word == "COPY":
            _copy(shlex.split(rest), source)
            continue
        script = f'mount --bind "$1" /opt && cd "$2" && {rest.replace(f"{TMP}/", f"{folder}/")}'
        subprocess.run(
            [*UNSHARE, "sh", "-ec", script, "sh", opt, source],
            env={**os.environ, **stage.environment, "PATH": f"{python / 'bin'}:/usr/bin:/bin"},
            check=True,
            capture_output=True,
            timeout=_SECONDS,
        )
    return opt / "venv"


def _copy(words: list[str], source: Path) -> None:
    """What COPY does, without what .dockerignore leaves out."""
    *names, target = words
    for name in names:
        to = source / target
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "sandbox")
            shutil.copytree(ROOT / name, to, ignore=ignored)
        else:
            to = to / Path(name).name if target.endswith("/") else to
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, to)


@dataclass(frozen=True, slots=True)
class Image:
    """What the second stage is: a root with the virtual environment and the base's libraries."""

    root: Path

    @classmethod
    def of(cls, environment: Path, root: Path) -> "Image":
        """Make a root of its own for the virtual environment."""
        for name in ("opt/venv", TMP, "proc", "dev", "config", *_base()):
            (root / name.lstrip("/")).mkdir(parents=True, exist_ok=True)
        shutil.copytree(environment, root / "opt/venv", symlinks=True, dirs_exist_ok=True)
        # Every container engine writes it.
        (root / "etc").mkdir(exist_ok=True)
        (root / "etc/hosts").write_text("127.0.0.1 localhost\n", "utf-8")
        return cls(root)

    def command(self, *arguments: str) -> list[str]:
        """A command line that runs these in the image: `arguments` are the whole of it.

        As root it runs as the image's USER. The root is mounted read-only; /tmp is another.
        """
        root = self.root
        script = [f"mount --bind {root} {root}"]
        for name in _base():
            script += [f"mount --rbind {name} {root}{name}"]
        script += [
            f"mount -t tmpfs -o mode=1777 tmpfs {root}{TMP}",
            f"mount --rbind /proc {root}/proc",
            f"mount --rbind /dev {root}/dev",
            f"mount -o remount,bind,ro {root}",
        ]
        script += [f"mount -o remount,bind,ro {root}{name} || true" for name in _base()]
        user = stages()[1].settings["USER"]
        switch = f"--userspec={user} --groups=" if os.geteuid() == 0 else ""
        script += [f'exec chroot {switch} {root} "$@"']
        # `env` of the host: nothing of the environment but what the image and the pod set.
        return [*UNSHARE, "sh", "-ec", "\n".join(script), "sh", *arguments]

    def entry_point(self) -> str:
        """The program that the image starts."""
        (program,) = re.findall(r'"([^"]+)"', stages()[1].settings["ENTRYPOINT"])
        return f"/opt/venv/bin/{program}"

    def environment(self) -> dict[str, str]:
        """What ENV sets, and nothing else."""
        found = dict(stages()[1].environment)
        found["PATH"] = found["PATH"].replace("$PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        return found


def _base() -> list[str]:
    """Folders of this machine that stand in for the base image: Python and shared libraries."""
    libraries = [name for name in ("/lib", "/lib64", "/usr/lib") if Path(name).exists()]
    certificates = [name for name in ("/etc/ssl",) if Path(name).exists()]
    return [*libraries, *certificates, sys.base_prefix]
