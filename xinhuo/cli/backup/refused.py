"""What a command on backups ends with when somebody must do something first."""

from xinhuo.cli.exits import Exit


class BackupRefused(Exception):
    """A backup cannot be made, read or brought back; the text says what to do, in Chinese and English."""

    def __init__(self, zh: str, en: str, code: Exit = Exit.REFUSED) -> None:
        super().__init__(f"{zh} / {en}")
        self.code = code
