/** A provider that is not called while work is stopped, whatever is under way: repeats and splits of a batch included. */

import { SiltstoneError } from "../../lib/core/model/errors.ts";
import { type Provider, ProviderRefusal } from "../../lib/embedding/provider.ts";
import { changeSettings, watchSettings } from "../../lib/jobs/control.ts";
import { reasonOf } from "../../lib/jobs/reason.ts";
import { stoppable } from "../../lib/jobs/stoppable-provider.ts";
import { type JobTestWorld, jobWorld } from "./job-world.ts";

let world: JobTestWorld;
let calls: number;
let provider: Provider;
const request = { inputs: ["x"] } as unknown as Parameters<Provider["request"]>[0];
beforeEach(async () => {
  world = await jobWorld();
  calls = 0;
  const answering = {
    ...{ inputsMax: 7, bytesMax: 8 },
    async request() {
      calls++;
      return { vectors: [new Float32Array([1])], tokens: 1 };
    },
  } as unknown as Provider;
  provider = stoppable(answering, watchSettings(world.table, world.clock));
});
const set = async (state: string) => {
  await changeSettings(world, { state }, "test");
  world.memory.clock.advance(2_000);
};

test("it is called while work runs or is paused, and has the bounds of the one behind it", async () => {
  expect(provider).toMatchObject({ inputsMax: 7, bytesMax: 8 });
  await provider.request(request);
  await set("paused");
  await provider.request(request);
  expect(calls).toBe(2);
});

test("stopped, within two seconds, it refuses without a call, as a throttling that no call waits for, and is no attempt of the job", async () => {
  await provider.request(request);
  await changeSettings(world, { state: "stopped" }, "test");
  world.memory.clock.advance(2_000);
  const refusal = await provider.request(request).then(
    () => null,
    (error: unknown) => error,
  );
  expect(calls).toBe(1);
  expect(refusal).toBeInstanceOf(ProviderRefusal);
  expect(refusal).toMatchObject({ kind: "throttled", retryAfterMs: expect.any(Number) });
  expect((refusal as ProviderRefusal).retryAfterMs!).toBeGreaterThan(300_000);
  const asJob = new SiltstoneError("unavailable", "embedding", { cause: refusal as Error });
  expect(reasonOf(asJob)).toMatchObject({ kind: "wait" });
  await set("running");
  await provider.request(request);
  expect(calls).toBe(2);
});

test("settings that cannot be read stop it as well: nothing is sent that somebody may have forbidden", async () => {
  world.table.readSettings = () => Promise.reject(new SiltstoneError("unavailable", "no table"));
  await expect(provider.request(request)).rejects.toThrow("no table");
  expect(calls).toBe(0);
});
