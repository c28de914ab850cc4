/** Writing an object that is not there yet. */
import type { ObjectStore } from "../ports.ts";

/** Whether the key holds these bytes afterwards: bytes of our own that are there are a first attempt's, whose answer was lost. */
export async function putNew(store: ObjectStore, key: string, body: Uint8Array): Promise<boolean> {
  const put = await store.put(key, body, { ifAbsent: true });
  if (put.kind === "written") return true;
  const there = await store.getBounded(key, body.length);
  return there.kind === "found" && there.body.equals(body);
}
