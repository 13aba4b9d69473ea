"""Where the training of each fold is: the workers tell, the driver asks."""


class TrainingProgress:
    """How far each fold is; an actor where the workers are processes."""

    def __init__(self) -> None:
        self._done: dict[int, int] = {}
        self._lines: dict[int, str] = {}

    def add(self, fold: int, done: int, line: str) -> None:
        """Note how many epochs of a fold are done, and what there is to say about the last one."""
        self._done[fold], self._lines[fold] = done, line

    def snapshot(self) -> tuple[int, str]:
        """Epochs done in all folds, and a line about each."""
        lines = " · ".join(f"fold {fold}: {line}" for fold, line in sorted(self._lines.items()))
        return sum(self._done.values()), lines or "starting"
