import { readFileSync } from "node:fs";
import { join } from "node:path";
import { mutants } from "./mutants.ts";

const root = join(import.meta.dirname, "../..");

test("every planted fault still fits the sources (npm run mutants shows that each is caught)", () => {
  const misfits = mutants.flatMap(({ name, file, edits }) =>
    edits.flatMap((edit) => {
      const times = readFileSync(join(root, edit.file ?? file), "utf8").split(edit.search).length - 1;
      return times === 1 ? [] : [`${name}: its text occurs ${times} times in ${edit.file ?? file}`];
    }),
  );
  expect(misfits).toEqual([]);
  expect(new Set(mutants.map(({ name }) => name)).size).toBe(mutants.length);
});
