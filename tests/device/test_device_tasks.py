"""Tasks that lose a cancelling, as a task group does in which something fails meanwhile, end all the same."""

import asyncio

from device_client.tasks import end


async def fail_when_cancelled(started):
    started.set()
    try:
        await asyncio.Event().wait()
    finally:
        raise OSError("the disk is full")


async def reconnect_for_ever(started, lost):
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail_when_cancelled(started))
    except BaseExceptionGroup:
        lost.append(True)
    await asyncio.Event().wait()


async def run():
    started, lost = asyncio.Event(), []
    task = asyncio.ensure_future(reconnect_for_ever(started, lost))
    await started.wait()
    await asyncio.wait_for(end([task], again_s=0.01), 10)
    assert task.done()
    return lost


def test_a_lost_cancelling_is_repeated():
    assert asyncio.run(run()) == [True], "the control: it was lost"
