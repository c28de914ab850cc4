/** Node runs the sources as they are, stripping their types: what its stripper refuses, esbuild and tsc may well accept. */
import { readdirSync, readFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { join } from "node:path";

const root = join(import.meta.dirname, "../..");

test.each(["bin", "lambdas", "lib", "scripts", "test"])("every source in %s", (folder) => {
  const sources = readdirSync(join(root, folder), { recursive: true, encoding: "utf8" }).filter(
    (name) => name.endsWith(".ts") && !name.includes("node_modules"),
  );
  const refused = sources.filter((name) => {
    try {
      stripTypeScriptTypes(readFileSync(join(root, folder, name), "utf8"));
      return false;
    } catch {
      return true;
    }
  });
  expect(refused).toEqual([]);
});
