/** `node --import` this: the fault that SILTSTONE_PLANT names is in the sources that the process loads. */
import { registerHooks } from "node:module";
import { fileURLToPath } from "node:url";
import { mutantOf, plantVariable, withFault } from "./plant.ts";

const mutant = mutantOf(process.env[plantVariable]!);

registerHooks({
  load(url, context, next) {
    const loaded = next(url, context);
    if (!url.startsWith("file:") || !url.endsWith(".ts") || loaded.source == null) return loaded;
    const source =
      typeof loaded.source === "string"
        ? loaded.source
        : Buffer.from(loaded.source as Uint8Array).toString("utf8");
    return { ...loaded, source: withFault(mutant, fileURLToPath(url), source) };
  },
});
