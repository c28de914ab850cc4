/** The lock files prove what is installed: without an integrity, npm takes whatever a registry answers under that name. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

interface Locked {
  readonly version?: string;
  readonly integrity?: string;
  readonly resolved?: string;
  /** Inside another package's archive, whose integrity covers it. */
  readonly inBundle?: boolean;
  readonly link?: boolean;
}

const packagesOf = (folder: string): [name: string, locked: Locked][] => {
  const text = readFileSync(join(import.meta.dirname, "../..", folder, "package-lock.json"), "utf8");
  const { packages } = JSON.parse(text) as { packages: Record<string, Locked> };
  return Object.entries(packages).filter(([path]) => path !== "");
};
const unproved = (folder: string) =>
  packagesOf(folder)
    .filter(([path, { link }]) => path.includes("node_modules/") && !link)
    .filter(([, { integrity, inBundle }]) => !inBundle && !/^sha512-[\w+/]{86}==$/.test(integrity ?? ""))
    .map(([path]) => path);

test("every package of the product's lock file has its sha512", () => {
  expect(packagesOf("").length).toBeGreaterThan(100);
  expect(unproved("")).toEqual([]);
});

test("the peers of the benches are proved as far as they can be installed here", () => {
  // Optional, of other platforms, and not to be had from the registry that the lock file was made with.
  const others = [
    "darwin-arm64",
    "linux-arm64-gnu",
    "linux-arm64-musl",
    "win32-arm64-msvc",
    "win32-x64-msvc",
  ];
  expect(unproved("scripts/bench/peers")).toEqual(
    others.map((platform) => `node_modules/@lancedb/lancedb-${platform}`),
  );
});

test.each([
  // What the repository alone runs: a package of its own, so that users do not get it.
  ["", ["node_modules/siltstone-local-binaries"]],
  ["scripts/bench/peers", []],
])("no package is bound to a host, or linked, but a folder of the project (%s)", (folder, own) => {
  const bound = packagesOf(folder).filter(([, { resolved, link }]) => resolved !== undefined || link);
  expect(bound.map(([path]) => path)).toEqual(own);
});
