"""CPU us of one completion through litellm, many at once. Run by the Python of an environment that has it.

Usage: python litellm_peer.py URL MODEL PROMPT IN_FLIGHT
"""

import asyncio
import os
import sys
import time

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or it looks for a newer list of prices on the network

import litellm

CALLS = 320


async def main(url: str, model: str, prompt: str, in_flight: int) -> None:
    async def worker(count: int) -> None:
        for _ in range(count):
            await litellm.acompletion(
                model=f"anthropic/{model}",
                messages=[{"role": "user", "content": prompt}],
                max_tokens=1000,
                api_key="sk-ant-benchmark-not-a-key",
                api_base=url,
                num_retries=0,
            )

    await asyncio.gather(*(worker(1) for _ in range(in_flight)))
    begun = time.process_time()
    await asyncio.gather(*(worker(CALLS // in_flight) for _ in range(in_flight)))
    print((time.process_time() - begun) / CALLS * 1e6)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
