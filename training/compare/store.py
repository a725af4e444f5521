"""The folder of a study: which of its cells wait, run and are done. A cell moves by renames, so each is run once.

study.yaml    what was asked for
todo/         HASH.json: the settings of a cell that waits
running/      HASH.json: a cell that a worker has claimed; its lock tells whether that worker lives
done/         HASH.json: labels, settings and result; all that the evaluation reads
data/         data sets of the controls, where there are any (`training.compare.controls`)
runs/         HASH/: the folder of each run, as `training.run` leaves it; once done, without checkpoint and history
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from loaders.formats.atomic import atomic_path
from loaders.formats.json_file import entry, read_json
from loaders.formats.lock import FILE as LOCK
from loaders.formats.lock import lock_file, lock_folder
from loaders.formats.sentence import one_line
from training.compare.outcome import Outcome
from training.compare.study import UNNAMED, Cell, Study
from training.json_file import write_json
from training.report.folder import yaml_text
from training.settings_file import read_yaml

STUDY = "study.yaml"
TODO, RUNNING, DONE, RUNS, DATA = "todo", "running", "done", "runs", "data"


class Store:
    """The cells of one study on disk.

    Attributes:
        folder: of the study.
        study: what it holds.
    """

    def __init__(self, folder: Path, study: Study):
        self.folder, self.study = folder, study
        self._cells = {cell.name: cell for cell in study.cells}

    def begin(self, values: dict[str, Any], update: bool = False) -> None:
        """Lay the cells out that are not there yet; a study that goes on is left as it is.

        Args:
            values: of the study file.
            update: take over a study file that has changed. Finished cells that it still has stay finished; those that
                it no longer has stay in the folder, and are no longer counted.

        Raises:
            ValueError: the folder holds another study, or the same one whose file has changed.
            OSError: the folder cannot be written to, or another process is laying it out.
        """
        with _waiting(self.folder):
            known = self.folder / STUDY
            if known.exists():
                self._check_same(read_yaml(known), values, update)
            elif any(path.name not in (LOCK, DATA) for path in self.folder.iterdir()):
                raise ValueError(f"{self.folder} holds something else than a study: choose another --out")
            for state in (TODO, RUNNING, DONE, RUNS):
                (self.folder / state).mkdir(exist_ok=True)
            for path in (self.folder / TODO).glob("*.json"):
                if path.stem not in self._cells:
                    path.unlink(missing_ok=True)  # a worker of the study as it was may just have claimed it
            for cell in self.study.cells:
                if self.state(cell) is None:
                    write_json(self._path(TODO, cell), {**cell.labels, "settings": cell.config.as_dict()}, indent=1)
            with atomic_path(known) as temporary:
                temporary.write_text(yaml_text(values), encoding="utf-8")

    def check(self, values: dict[str, Any]) -> None:
        """Refuse to read a folder as another study than it holds.

        Raises:
            ValueError: it holds no study, or another one.
        """
        self._check_same(read_values(self.folder), values, update=False)

    def _check_same(self, known: dict[str, Any], values: dict[str, Any], update: bool) -> None:
        changed = [key for key in {**known, **values} if known.get(key) != values.get(key)]
        if "name" in changed:
            raise ValueError(
                f"{self.folder} holds the study {known.get('name')!r}, not {values.get('name')!r}: choose another --out"
            )
        if changed and not update:
            raise ValueError(
                f"{self.folder} was begun with another study file (differs in {', '.join(changed)}): choose another "
                "--out, or take the new one over with --update, which keeps the finished cells that it still has"
            )

    def state(self, cell: Cell) -> str | None:
        """TODO, RUNNING or DONE; None where the cell is not laid out.

        The states are read in the order in which a worker moves a cell through them, and TODO again, to which it may
        have been given back: a cell that moves meanwhile is found all the same.
        """
        found = {state for state in (TODO, RUNNING, DONE, TODO) if self._path(state, cell).exists()}
        return next((state for state in (DONE, RUNNING, TODO) if state in found), None)

    def run_folder(self, cell: Cell) -> Path:
        """Where the cell's run is."""
        return self.folder / RUNS / cell.name

    @contextmanager
    def claim(self) -> Iterator[Cell | None]:
        """The next cell that waits, held by this process while the block runs; None when none waits.

        A block that fails, or that ends without `finish`, gives the cell back.
        """
        self.recover()
        with ExitStack() as held:
            yield next((cell for cell in self.study.cells if self._take(cell, held)), None)

    def _take(self, cell: Cell, held: ExitStack) -> bool:
        """Claim a cell for as long as `held` is open; False where it does not wait, or another worker is quicker."""
        waiting, running = self._path(TODO, cell), self._path(RUNNING, cell)
        if not waiting.exists():
            return False
        with ExitStack() as lock:
            try:
                lock.enter_context(lock_file(running))
                waiting.rename(running)
            except (BlockingIOError, FileNotFoundError):
                return False
            held.push(lock.pop_all())
        held.callback(self._give_back, cell)
        return True

    def finish(self, cell: Cell, result: dict[str, Any]) -> None:
        """Save the result of a claimed cell."""
        write_json(self._path(DONE, cell), {**cell.labels, **result, "settings": cell.config.as_dict()}, indent=1)
        self._path(RUNNING, cell).unlink()

    def recover(self) -> list[Cell]:
        """Give back the cells whose worker has died.

        Returns:
            those whose worker may live: cells that are being run.
        """
        alive: list[Cell] = []
        for path in sorted((self.folder / RUNNING).glob("*.json")):
            cell = self._cells.get(path.stem)
            if cell is None:
                continue
            try:
                with lock_file(path):
                    self._give_back(cell)
            except BlockingIOError:
                alive.append(cell)
        return alive

    def _give_back(self, cell: Cell) -> None:
        running = self._path(RUNNING, cell)
        if self._path(DONE, cell).exists():
            running.unlink(missing_ok=True)
        elif running.exists():
            os.replace(running, self._path(TODO, cell))

    def outcomes(self) -> list[Outcome]:
        """The results of the cells that are done, in the order of the study.

        Raises:
            ValueError: a file of a finished cell is damaged, or its data were changed during the study; names it.
        """
        found: list[Outcome] = []
        digests: dict[tuple[str, ...], tuple[str, Path]] = {}
        for cell in self.study.cells:
            path = self._path(DONE, cell)
            if not path.exists():
                continue
            try:
                name, values = str(path), read_json(path)
                kept: dict[str, Any] = {key: entry(values, key, str, name) for key in ("status", "error")}
                kept["summary"] = entry(values, "summary", dict, name)
                is_finished = values.get("accuracy") is not None
                kept["accuracy"] = entry(values, "accuracy", float, name) if is_finished else None
                changed = changed_settings(entry(values, "settings", dict, name), cell.config.as_dict())
            except ValueError as damage:
                raise ValueError(
                    f"{path} is damaged ({damage}): delete it, and call again to run its cell anew"
                ) from None
            if changed:
                raise ValueError(
                    f"{path} was made when {', '.join(changed)} had another default: delete it and "
                    f"{self.run_folder(cell)}, and call again to run its cell anew"
                )
            self._check_digests(cell, kept["summary"], digests)
            found.append(Outcome(cell=cell.name, **cell.labels, **kept))
        return found

    def _check_digests(
        self, cell: Cell, summary: dict[str, Any], known: dict[tuple[str, ...], tuple[str, Path]]
    ) -> None:
        """Refuse results for which the same data, core-set or file of code had other content than for those before.

        Args:
            known: the content of each and the first result with it; what this one has is added.
        """
        path = self._path(DONE, cell)
        for kind, digest in entry(summary, "digests", dict, str(path)).items() if "digests" in summary else ():
            name = str(getattr(cell.config, kind, ""))
            before, first = known.setdefault((kind, name, str(cell.config.coreset)), (digest, path))
            if before != digest:
                raise ValueError(
                    f"{name} was changed during the study: {first} and {path} were made with other content of it. "
                    f"Delete the results from before the change, and these runs' folders in {self.folder / RUNS}, "
                    "and call again to run their cells anew"
                )

    def counts(self) -> dict[str, int]:
        """Number of cells by state."""
        states = [self.state(cell) for cell in self.study.cells]
        return {state: states.count(state) for state in (DONE, RUNNING, TODO)}

    def _path(self, state: str, cell: Cell) -> Path:
        return self.folder / state / f"{cell.name}.json"


def read_values(folder: Path) -> dict[str, Any]:
    """The study file that a study's folder keeps.

    Raises:
        ValueError: there is none.
    """
    path = folder / STUDY
    if not path.exists():
        raise ValueError(f"{one_line(folder, 200)} holds no study ({STUDY} is missing): give a study file first")
    return read_yaml(path)


@contextmanager
def _waiting(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; other workers that begin at the same time have it for a moment only.

    Raises:
        BlockingIOError: for 20 seconds another process has it.
    """
    deadline = time.monotonic() + 20
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(lock_folder(folder))
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield


def changed_settings(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Names of the settings that both have, with other values; those that decide no result are left out."""
    now = json.loads(json.dumps(now))
    return [key for key in before if key in now and before[key] != now[key] and key not in UNNAMED]
