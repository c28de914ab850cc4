/**
 * V8 does not see the memory of hnswlib's indexes: without a collection, an index that nobody needs any more stays until
 * V8 happens to look, and a function that swaps segments grows until it is killed. So dropping one asks for a collection.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

let collect: (() => void) | undefined;

export function releaseNativeMemory(): void {
  if (collect === undefined) {
    setFlagsFromString("--expose-gc");
    collect = runInNewContext("gc") as () => void;
  }
  collect();
}
