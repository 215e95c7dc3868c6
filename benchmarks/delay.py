"""A network between waule and PostgreSQL: passes connections on, each direction late by so many milliseconds.

python -m benchmarks.delay PORT TARGET_HOST TARGET_PORT MILLISECONDS
"""

import asyncio
import contextlib
import sys

CHUNK_BYTES = 64 << 10


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    loop = asyncio.get_running_loop()

    def write(chunk: bytes) -> None:
        if not writer.is_closing():
            writer.write(chunk)

    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(CHUNK_BYTES):
            if seconds:
                loop.call_later(seconds, write, chunk)
            else:
                write(chunk)
    loop.call_later(seconds, writer.close)


async def main(port: int, host: str, target: int, milliseconds: float) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, target)
        await asyncio.gather(pass_on(reader, back, milliseconds / 1000), pass_on(there, writer, milliseconds / 1000))

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
