"""The drill: an installation under load that is destroyed and brought back, and what is counted before and after."""

import shlex
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.deploy.archiving import ArchivingPostgres, run_page
from tests.support.campaign import WHOLE_DAY, Campaign, make_campaign, register
from tests.support.fleet import PATIENCE, Fleet, Load, acknowledged, ledger, tally
from tests.support.hours import id_number
from tests.support.installation import Ended, called
from tests.support.postgres import create_database, drop_database
from tests.support.processes import end
from tests.support.rabbit import RabbitNode
from tests.support.waiting import wait_for

#: Api and worker of volunteers apart: the drill stops one of them.
MEMBERS = (("portal", "all"), ("notices", "all"), ("volunteers", "api"), ("volunteers", "worker"), ("awards", "all"),
           ("notify", "all"))  # fmt: skip
ADAPTER = "nameko"


@dataclass
class Drill:
    """What is destroyed, and who counts."""

    server: ArchivingPostgres
    node: RabbitNode
    fleet: Fleet
    vhost: str
    campaign: Campaign
    starred: str = ""
    """A volunteer who earns stars."""
    days: int = 0

    @classmethod
    def begin(cls, server: ArchivingPostgres, node: RabbitNode, folder: Path, vhost: str) -> "Drill":
        """Install everything, start it, and make a campaign with somebody who has a star."""
        settings = {"DATABASE_URL": create_database(server.start()), "AMQP_URI": node.add_vhost(vhost)}
        fleet = Fleet(folder, settings)
        try:
            fleet.prepare()
            fleet.begin(ADAPTER, *MEMBERS)
            drill = cls(server, node, fleet, vhost, make_campaign(fleet))
            person = {"name": "测试员乙", "id_number": id_number(), "phone": "14200010002"}
            drill.starred = register(fleet, {**person, "unit_code": drill.campaign.units[0]})["id"]
            drill.serve(5)
            (folder / "backups").mkdir()
            run_page("xinhuo backup key", folder, fleet.settings)
        except BaseException:
            fleet.end()
            raise
        return drill

    def end(self) -> None:
        """End the processes."""
        self.fleet.end()

    def serve(self, days: int) -> None:
        """Log whole days for the one with the stars: 100 hours make the first."""
        for _ in range(days):
            self.days += 1
            hours = {**self.campaign.hours(self.days, WHOLE_DAY), "volunteer_id": self.starred}
            self.fleet.post("volunteers", "/v1/hours", hours)

    def load(self, first_day: int) -> Load:
        """Start clients that enter the minutes of March from this day on."""
        load = Load(self.fleet, self.campaign, first=(first_day - 1) * (WHOLE_DAY - 1))
        load.start()
        return load

    def quiet(self) -> None:
        """Return when everything that was entered has had every effect."""
        wait_for(lambda: not any(self.fleet.troubles().values()), PATIENCE, f"nothing left: {self.fleet.troubles()}")
        wait_for(lambda: acknowledged(self.fleet, self.campaign) == self.entries(), PATIENCE, "every acknowledgement")
        wait_for(lambda: tally(self.fleet, self.campaign) == self.entries(), PATIENCE, "the tally")
        wait_for(lambda: self.campaign.statistics()["minutes"] == self.entries() + self.days * WHOLE_DAY, PATIENCE,
                 "the statistics")  # fmt: skip

    def entries(self) -> int:
        """Return how many entries the ledger has of the loaded volunteer; each is of one minute."""
        entries, minutes = ledger(self.fleet, self.campaign)
        assert entries == minutes
        return entries

    def stars(self) -> list[dict[str, Any]]:
        """Return all tallies and stars; of when one was earned, the day."""
        return self.fleet.rows(
            "SELECT t.volunteer_id, t.minutes, s.award_id, s.star, s.occurrence, s.threshold_minutes, s.minutes_total,"
            " s.rule, s.withdrawn_by, (s.earned_at AT TIME ZONE 'Asia/Shanghai')::date AS day"
            " FROM awards.tallies t LEFT JOIN awards.stars s USING (volunteer_id) ORDER BY t.volunteer_id, s.award_id"
        )

    def told(self) -> list[dict[str, Any]]:
        """Return all messages with everything about them."""
        return self.fleet.rows("SELECT * FROM notify.messages ORDER BY id")

    def backup(self) -> None:
        """Do what the page says for every night."""
        run_page("xinhuo backup create", self.fleet.folder, self.fleet.settings)

    def taken_at(self) -> Any:
        """Return when the newest backup was taken."""
        listed = self.run("backup", "list", "--folder", str(self.fleet.folder / "backups"), "--json").figures
        return listed["backups"][-1]["taken_at"]

    def run(self, *arguments: str) -> Ended:
        """Run a command to its end."""
        return called(*arguments, settings=self.fleet.settings)

    def replay(self, printed: str) -> int:
        """Run the replays that a restore has printed; return how many events they sent."""
        commands = [line.strip() for line in printed.splitlines() if line.strip().startswith("xinhuo events replay")]
        assert len(commands) >= 3, printed
        return sum(self.run(*shlex.split(command)[1:], "--json").figures["events"] for command in commands)

    def agrees(self) -> None:
        """Assert that the audit log is whole and all books agree."""
        for command in (("audit", "verify"), ("reconcile", "--older-than", "0")):
            ended = self.run(*command)
            assert ended.code == 0, ended.stdout + ended.stderr

    def kill_everything(self) -> None:
        """Kill all processes, drop the database and delete the virtual host with its queues."""
        for process in self.fleet.running.values():
            process.kill()
            process.wait()
        self.fleet.running.clear()
        drop_database(self.fleet.settings["DATABASE_URL"])
        self.node.delete_vhost(self.vhost)
        name = self.fleet.settings["DATABASE_URL"].rpartition("/")[2]
        with psycopg.connect(self.server.url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        self.node.add_vhost(self.vhost)

    def lose_awards(self) -> dict[str, int]:
        """Awards loses its tables after a backup; return what was replayed. Everything must be as it was."""
        self.backup()
        run_page("xinhuo backup erasures", self.fleet.folder, self.fleet.settings)
        assert "test restore" in run_page("--test-restore", self.fleet.folder, self.fleet.settings)
        self.serve(8)
        self.quiet()
        self.wait_for_stars(2)
        stars, told = self.stars(), self.told()
        self.fleet.finish(("awards", "all"))
        self.drop("awards")
        printed = run_page("--service awards", self.fleet.folder, self.fleet.settings)
        assert self.stars() != stars, "the backup is older"
        self.fleet.begin(ADAPTER, ("awards", "all"))
        sent = self.replay(printed)
        self.quiet()
        wait_for(lambda: self.stars() == stars, PATIENCE, "every star")
        assert self.told() == told
        self.agrees()
        return {"replayed": sent}

    def lose_notify(self) -> dict[str, int]:
        """Notify loses its tables, and has no backup: the replay puts every message back, as read."""
        told = self.told()
        self.fleet.finish(("notify", "all"))
        self.drop("notify")
        assert self.run("db", "upgrade", "notify").code == 0
        self.fleet.begin(ADAPTER, ("notify", "all"))
        self.run("events", "replay", "--service", "notify", "--since", "2020-01-01", "--json").figures["events"]
        self.quiet()
        wait_for(lambda: len(self.told()) == len(told), PATIENCE, "every message")

        def what(messages: list[dict[str, Any]]) -> list[tuple[str, ...]]:
            kept = ("volunteer_id", "occasion", "subject_id", "occurrence", "title", "text")
            return sorted(tuple(str(message[name]) for name in kept) for message in messages)

        assert what(self.told()) == what(told)
        assert {message["state"] for message in self.told()} == {"restored"}
        self.agrees()
        return {"messages": len(told)}

    def lose_everything(self, more: int) -> dict[str, Any]:
        """Everything is lost after a backup that was made under load; return what is left of what was entered.

        When the backup is made one worker and notify stand still: what they had to do is done in no table of the copy.
        """
        load = self.load(1)
        load.grew(more)
        self.fleet.finish(("notify", "all"))
        load.grew(more)
        self.fleet.finish(("volunteers", "worker"))
        load.grew(more)
        self.serve(12)  # a third star, of which nobody has heard when the backup is made
        answered_before = set(load.entered)
        self.backup()
        load.grew(more)
        self.fleet.begin(ADAPTER, ("volunteers", "worker"), ("notify", "all"))
        load.grew(more)
        load.stop()
        assert not load.refused, load.refused[:3]
        self.quiet()
        self.wait_for_stars(3)
        taken_at = self.taken_at()
        waited = self.fleet.scalar(
            "SELECT count(*) FROM notify.messages WHERE state = 'written' AND written_at > %s", taken_at
        )
        assert waited > more, "many were told after the backup what had happened before it"
        self.kill_everything()

        printed = run_page("backup restore --folder backups --identity safe/backup-identity.txt --dry-run",
                           self.fleet.folder, self.fleet.settings)  # fmt: skip
        unsent = self.fleet.scalar("SELECT count(*) FROM volunteers.outbox WHERE published_at IS NULL")
        assert unsent == 0, "what had not been sent is left to the replay"
        self.fleet.begin(ADAPTER, *MEMBERS)
        sent = self.replay(printed)
        self.quiet()
        run_page("xinhuo audit verify", self.fleet.folder, self.fleet.settings)
        self.agrees()
        kept = {str(row["id"]) for row in self.fleet.rows("SELECT id FROM volunteers.ledger_entries")}
        assert answered_before <= kept
        self.wait_for_stars(3)
        again = self.fleet.scalar(
            "SELECT count(*) FROM notify.messages WHERE state = 'written' AND written_at > %s", taken_at
        )
        assert again == 0, "somebody would be told a second time"
        restored = self.fleet.scalar(
            "SELECT count(*) FROM notify.messages WHERE state = 'restored' AND written_at > %s", taken_at
        )
        assert restored > more
        lost = len(set(load.entered) - kept)
        assert lost > 0, "what came after the backup is lost: that is what the log is for"
        return {"entered": len(load.entered), "kept": len(set(load.entered) & kept), "restored": restored,
                "replayed": sent}  # fmt: skip

    def lose_the_disk(self, more: int) -> dict[str, Any]:
        """The disk of the database burns under load; the copy of it and its log bring back every answer."""
        self.server.make_folder(self.server.folder / "wal")
        self.server.shell("--if-not-exists", first_only=True)
        receiver = self.server.shell_in_background("--synchronous")
        try:
            self.server.shell("synchronous_standby_names = 'pg_receivewal'")
            wait_for(self._is_synchronous, PATIENCE, "the receiver to be waited for")
            before = self.entries()
            self.server.shell("pg_basebackup")
            load = self.load(16)
            load.grew(more)
            self.server.lose_everything()
        finally:
            end(receiver, signal.SIGINT, 10)
        self.server.shell("%f.partial")
        self.server.launch()
        wait_for(self._serves, PATIENCE, "the end of the recovery")
        load.grew(more)
        load.stop()
        assert not load.refused, load.refused[:3]
        self.quiet()
        assert self.entries() == before + len(load.entered)
        self.agrees()
        return {"entered": len(load.entered), "kept": self.entries() - before}

    def _is_synchronous(self) -> bool:
        found = self.fleet.rows("SELECT sync_state FROM pg_stat_replication WHERE application_name = 'pg_receivewal'")
        return [row["sync_state"] for row in found] == ["sync"]

    def _serves(self) -> bool:
        try:
            return not self.fleet.scalar("SELECT pg_is_in_recovery()")
        except psycopg.OperationalError:
            return False

    def wait_for_stars(self, number: int) -> None:
        """Return when the one with the stars has so many, and was congratulated."""
        wait_for(
            lambda: self.fleet.scalar("SELECT count(*) FROM notify.messages WHERE occasion = 'star_earned'") >= number,
            PATIENCE, f"{number} stars",
        )  # fmt: skip

    def drop(self, service: str) -> None:
        """Drop a service's tables."""
        with psycopg.connect(self.fleet.settings["DATABASE_URL"], autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA {service} CASCADE".encode())
