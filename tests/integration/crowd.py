"""How many tasks of a test run at once."""

import asyncio


class Crowd:
    """Counts who is inside at once."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0

    async def visit(self) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(0.002)  # Long enough for a claim to be under way when it ends.
        self.inside -= 1
