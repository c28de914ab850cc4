/** A worker's run over all messages of a deployment in memory; texts with "bad" get nonsense, with "never" are refused. */
import { SiltstoneError } from "../../lib/core/model/errors.ts";
import { ProviderRefusal } from "../../lib/embedding/provider.ts";
import { watchSettings } from "../../lib/jobs/control.ts";
import { decodeWake } from "../../lib/jobs/wake.ts";
import { work } from "../../lib/jobs/work.ts";
import type { MemoryCli } from "./memory-deployment.ts";

export async function workAll({ jobs, world }: Pick<MemoryCli, "jobs" | "world">): Promise<void> {
  const keys = jobs.wake.take().map((body) => decodeWake(body) as { collectionId: string; item: string });
  await work(
    {
      ...{ table: jobs.table, wake: jobs.wake, store: world.store, queue: world.queue, clock: world.clock },
      embedder: null,
      ...{ settings: watchSettings(jobs.table, world.clock), random: () => 0.5 },
      embed: async (_, texts) => ({
        outcomes: texts.map((text) =>
          /bad|never/.test(text)
            ? new SiltstoneError("unavailable", `the provider: ${text}`, {
                cause: new ProviderRefusal(/never/.test(text) ? "input" : "broken", "no"),
              })
            : new Float32Array(8).fill(1),
        ),
        tokens: 1,
      }),
    },
    keys,
    { owner: `run ${world.clock.ulid()}`, untilMs: Number.MAX_SAFE_INTEGER },
  );
}
