import { readFileSync } from "node:fs";
import { join } from "node:path";
import { mutants } from "./mutants.ts";
import { editsOf, root, withFault } from "./plant.ts";

test("every planted fault still fits the sources (npm run mutants shows that each is caught)", () => {
  const misfits = mutants.flatMap((mutant) => {
    try {
      for (const file of new Set(editsOf(mutant).map((edit) => edit.file)))
        withFault(mutant, join(root, file), readFileSync(join(root, file), "utf8"));
      return [];
    } catch (error) {
      return [(error as Error).message];
    }
  });
  expect(misfits).toEqual([]);
  expect(new Set(mutants.map(({ name }) => name)).size).toBe(mutants.length);
});
