/**
 * A planted fault lives in no file: it is put into the source when that is loaded, by Node (plant-at-load.ts) or by Jest
 * (test/support/esbuild-transform.cjs). So any number of them can be tried side by side, each in processes of its own.
 */
import { relative, sep } from "node:path";
import { type Mutant, mutants } from "./mutants.ts";

export const root = new URL("../..", import.meta.url).pathname;
/** Names the fault that a process has to plant. */
export const plantVariable = "SILTSTONE_PLANT";

/** Arguments of Node for a process that a test starts, so that it has the fault that the test's own process was told to have. */
export const plantingArguments = (): string[] =>
  process.env[plantVariable] ? ["--import", `${root}test/mutants/plant-at-load.ts`] : [];

export function mutantOf(name: string): Mutant {
  const mutant = mutants.find((one) => one.name === name);
  if (!mutant) throw new Error(`there is no planted fault ${JSON.stringify(name)}`);
  return mutant;
}

/** The source of `path` with the fault in it. Throws where its text does not occur exactly once. */
export function withFault(mutant: Mutant, path: string, source: string): string {
  const here = relative(root, path).split(sep).join("/");
  let text = source;
  for (const { file, search, replace } of editsOf(mutant)) {
    if (file !== here) continue;
    const found = text.split(search).length - 1;
    if (found !== 1)
      throw new Error(`mutant "${mutant.name}": its text occurs ${found} times in ${file}, not once`);
    text = text.replace(search, () => replace);
  }
  return text;
}

export const editsOf = ({ file, edits }: Mutant): { file: string; search: string; replace: string }[] =>
  edits.map((edit) => ({ file, ...edit }));
