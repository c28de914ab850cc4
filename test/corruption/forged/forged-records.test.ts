/** As forged-graphs.test.ts: records.db, clusters.bin and vectors.f32; and files of all kinds with bytes changed by chance. */
import { forgeriesOf } from "./forgeries.ts";
import { forgeryOfSeed } from "./fuzz.ts";
import { expectHarmless } from "./harmless.ts";

const seeds = 60;

test.each(["records.db", "clusters.bin", "vectors.f32"] as const)(
  "%s: whatever it says, it is refused as corrupt or does no harm",
  async (file) => {
    const names = forgeriesOf("l2").map(({ name }) => name);
    await expectHarmless({ metric: "l2", names: names.filter((name) => name.startsWith(file)) });
  },
  300_000,
);

test("bytes changed by chance in every file are refused as corrupt or do no harm", async () => {
  const names = Array.from({ length: seeds }, (_, seed) => forgeryOfSeed(seed).name);
  await expectHarmless({ metric: "cosine", names });
}, 300_000);
