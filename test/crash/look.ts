/** Reads for the enumeration, as an operation and as what is done after one: judged by the oracle, whatever they end with. */

import { deltaOfKey } from "../../lib/core/format/keys.ts";
import { encodeToken } from "../../lib/core/format/token.ts";
import { SiltstoneError } from "../../lib/core/model/errors.ts";
import { deltaId } from "../../lib/core/model/ids.ts";
import type { World } from "../../lib/engine/ports.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { Traffic } from "../../lib/engine/traffic.ts";
import { beginRead, readFault } from "../sim/reads.ts";
import type { MemoryWorld } from "../support/memory/world.ts";
import { ids, name, type Scene } from "./scenarios.ts";

export const readerOf = (world: World): Reader =>
  new Reader(world, { refreshSeconds: 300, cacheBytesMax: 1e9, traffic: new Traffic() });

/** How a look is taken: `token` names what waits in the backlog when it begins. */
export type Look = "eventual" | "bounded" | "strong" | "token";

export async function lookOnce({ oracle, memory }: Scene, reader: Reader, look: Look): Promise<void> {
  const window = beginRead(oracle, name, 1);
  const deltas = look === "token" ? waiting(memory) : [];
  const consistency = look === "token" ? "eventual" : look;
  const maxAge = consistency === "bounded" ? { maxAgeSeconds: 0 } : {};
  const token = encodeToken({
    collection: name,
    collectionId: null,
    deltas: deltas.map((delta) => ({ shard: 0, delta: deltaId(delta) })),
  });
  const atLeast = deltas.length > 0 ? { atLeast: [token] } : {};
  try {
    const request = {
      collection: name,
      ids,
      include: ["document" as const],
      consistency,
      ...maxAge,
      ...atLeast,
    };
    const answer = await reader.get(request);
    const fault = readFault(oracle, window, {
      collection: name,
      consistency,
      maxAgeMs: consistency === "eventual" ? 300_000 : 0,
      tokens: deltas,
      versions: answer.shards.map(({ version }) => version),
      ageSeconds: answer.shards.map(({ ageSeconds }) => ageSeconds),
      ids,
      wants: () => true,
      found: new Map(answer.records.map(({ id, document }) => [id, document!])),
      warned: answer.warning !== undefined,
      takenBack: (answer.takenBack ?? []).map(({ delta }) => delta),
    });
    if (fault !== null) oracle.violate(fault);
  } catch (error) {
    if (!(error instanceof SiltstoneError)) throw error;
    if (error.kind === "unavailable" || error.kind === "notFound") return;
    // A lost pointer, a collection that is half made, a delta that cannot be read: said clearly, by name.
    const isDamaged = memory.store.bytes(`${name}/0/pointer.json`) === null || hasDamagedDelta(memory);
    if (error.kind === "corrupt" && isDamaged) return;
    oracle.violate(`a ${look} read failed with ${error.stack}`);
  }
}

const ref = { collection: name, shard: 0 };
const waiting = ({ store }: MemoryWorld): string[] =>
  store.keys(`${name}/0/deltas/`).flatMap((key) => deltaOfKey(ref, key) ?? []);

const hasDamagedDelta = ({ store, clock }: MemoryWorld): boolean =>
  store.keys(`${name}/0/deltas/`).some((key) => {
    const body = store.bytes(key)!;
    return body.toString("latin1").startsWith("not an arrow") || clock.nowMs() > Date.UTC(2026, 0, 30);
  });
