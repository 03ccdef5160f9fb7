"""The same job in FastStream, tutorial style with asyncpg: ``python -m benchmarks.faststream_services NAME PORT``.

Durable queues, persistent and confirmed messages, acknowledged after the handler; commit, then publish.
"""

import asyncio
import os
import sys
from typing import Any

import asyncpg
import uvicorn
from fastapi import FastAPI
from faststream.rabbit import Channel, ExchangeType, RabbitBroker, RabbitExchange, RabbitQueue

WORKERS = int(os.environ["BASELINE_WORKERS"])
EXCHANGE = RabbitExchange("volunteers.events", type=ExchangeType.TOPIC, durable=True)
broker = RabbitBroker(os.environ["BASELINE_AMQP_URI"], default_channel=Channel(prefetch_count=WORKERS), logger=None)
pool: asyncpg.Pool
app = FastAPI()


def queue(name: str) -> RabbitQueue:
    """A durable queue of its own for each service."""
    return RabbitQueue(name, durable=True, routing_key="hours_logged")


@app.post("/hours", status_code=201)
async def log_hours(record: dict[str, Any]) -> dict[str, Any]:
    """Take a record over HTTP."""
    record["id"] = await pool.fetchval(
        "INSERT INTO hours (volunteer_id, unit_code, team_code, category, month, started_at, minutes)"
        " VALUES ($1, $2, $3, $4, $5, $6::text::timestamptz, $7) RETURNING id",
        *(record[name] for name in ("volunteer_id", "unit_code", "team_code", "category", "month", "started_at")),
        record["minutes"],
    )
    await broker.publish(record, routing_key="hours_logged", exchange=EXCHANGE, persist=True)
    return record


async def count(record: dict[str, Any]) -> None:
    """Keep the totals."""
    await pool.execute(
        "INSERT INTO statistics VALUES ($1, $2, $3, $4, $5, 1)"
        " ON CONFLICT (month, unit_code, team_code, category) DO UPDATE"
        " SET minutes = statistics.minutes + excluded.minutes, entries = statistics.entries + 1",
        record["month"], record["unit_code"], record["team_code"], record["category"], record["minutes"],
    )  # fmt: skip


async def tally(record: dict[str, Any]) -> None:
    """Keep each person's tally and star."""
    await pool.execute(
        "INSERT INTO tallies VALUES ($1, $2, 0) ON CONFLICT (volunteer_id) DO UPDATE"
        " SET minutes = tallies.minutes + excluded.minutes,"
        " star = ((tallies.minutes + excluded.minutes) >= 6000)::integer",
        record["volunteer_id"], record["minutes"],
    )  # fmt: skip


async def acknowledge(record: dict[str, Any]) -> None:
    """Acknowledge a record."""
    await pool.execute(
        "INSERT INTO acknowledgements (volunteer_id, hours_id, text) VALUES ($1, $2, $3)",
        record["volunteer_id"], record["id"], f"已记录 {record['minutes']} 分钟",
    )  # fmt: skip


HANDLERS = {"statistics": count, "awards": tally, "notify": acknowledge}


async def main(name: str, port: int) -> None:
    """Run one service."""
    global pool
    if handler := HANDLERS.get(name):
        broker.subscriber(queue(f"{name}.hours_logged"), EXCHANGE)(handler)
    url = os.environ["BASELINE_DATABASE_URL"].replace("+psycopg", "")
    size = min(WORKERS, 40)  # four processes share PostgreSQL's 200 connections
    async with asyncpg.create_pool(url, min_size=size, max_size=size) as pool, broker:
        await broker.start()
        print("started", flush=True)
        if handler:
            await asyncio.Event().wait()
        else:
            await uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", access_log=False)).serve()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
