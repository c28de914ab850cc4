/** What users import of the package is what the build makes: each entry of `exports` is a source compiled to its place. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "../..");
const { exports: entries } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  exports: Record<string, string | Record<string, string>>;
};

test.each(Object.entries(entries).filter(([, entry]) => typeof entry === "object"))(
  "%s is a source of the project",
  (_, entry) => {
    const { types, default: code } = entry as { types: string; default: string };
    const source = code.replace(/^\.\/dist\//, "").replace(/\.js$/, ".ts");
    expect(existsSync(join(root, source))).toBe(true);
    expect(types).toBe(code.replace(/\.js$/, ".d.ts"));
  },
);
