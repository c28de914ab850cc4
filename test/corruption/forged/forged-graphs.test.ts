/**
 * Forged graphs with every hash right: each field of index.hnsw. Their readers say `corrupt`; what is
 * strange and does no harm is answered. No case ends a process, goes on for ever, or takes memory that the file does not have.
 * Each is tried in a child process. `npm run forge` tries others by chance, for as long as one likes.
 */
import { forgeriesOf } from "./forgeries.ts";
import { expectHarmless } from "./harmless.ts";

test.each(["l2", "cosine", "ip"] as const)(
  "index.hnsw, %s: whatever a field says, it is refused as corrupt or does no harm",
  async (metric) => {
    const names = forgeriesOf(metric).map(({ name }) => name);
    await expectHarmless({ metric, names: names.filter((name) => name.startsWith("index.hnsw")) });
  },
  300_000,
);
