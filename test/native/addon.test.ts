/**
 * The committed addons are what addons.json says, pass the gate, and this machine's answers a query; the gate refuses
 * what would not load in Lambda.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import hnswlib from "#hnswlib";
import { addonPath, readRegister } from "../../scripts/native/build.ts";
import { addonProblems, inspectAddon } from "../../scripts/native/elf.ts";
import { hostVariantName, linuxVariants, machineArm64, machineX64 } from "../../scripts/native/variants.ts";

const root = join(__dirname, "../..");

describe("committed addons", () => {
  const register = readRegister();

  test("addons.json records exactly the Linux variants", () => {
    expect(Object.keys(register).sort()).toEqual(linuxVariants.map((variant) => variant.name).sort());
  });

  test.each(linuxVariants)("$name matches its record and passes the gate", (variant) => {
    const bytes = readFileSync(addonPath(variant.name));
    const record = register[variant.name]!;
    expect(bytes.length).toBe(record.bytes);
    expect(createHash("sha256").update(bytes).digest("hex")).toBe(record.sha256);
    expect(addonProblems(bytes, variant.machine!)).toEqual([]);
    expect(record.flags.split(" ")).toEqual(expect.arrayContaining(["-O3", "-DNDEBUG", ...variant.flags]));
    const installed = JSON.parse(readFileSync(join(root, "node_modules/hnswlib-node/package.json"), "utf8"));
    expect(record.hnswlibNode).toBe(installed.version);
  });
});

describe("the gate", () => {
  const x64 = () => readFileSync(addonPath("linux-x64-v3"));
  /** The addon with its first version name of a family replaced by another of the same length. */
  const withVersion = (from: string, to: string): Buffer => {
    const bytes = x64();
    const at = bytes.indexOf(`\0${from}\0`, 0, "latin1");
    expect(at).toBeGreaterThan(0);
    expect(to.length).toBe(from.length);
    bytes.write(to, at + 1, "latin1");
    return bytes;
  };

  test("reads what the addon needs", () => {
    const addon = inspectAddon(x64())!;
    expect(addon.machine).toBe(machineX64);
    expect(addon.highest.GLIBC).toMatch(/^2\.\d+/);
    expect(addon.highest.GLIBCXX).toMatch(/^3\.4\.\d+$/);
  });

  test("refuses the wrong processor", () => {
    expect(addonProblems(x64(), machineArm64)).toEqual([
      expect.stringContaining("e_machine is 62, wanted 183"),
    ]);
    expect(addonProblems(readFileSync(addonPath("linux-arm64")), machineX64)).toHaveLength(1);
  });

  test("refuses symbol versions that Lambda lacks, comparing them as numbers", () => {
    const { GLIBC, GLIBCXX } = inspectAddon(x64())!.highest;
    const newGlibc = GLIBC!.replace(/\d+$/, (minor) => "9".repeat(minor.length));
    expect(addonProblems(withVersion(`GLIBC_${GLIBC}`, `GLIBC_${newGlibc}`), machineX64)).toEqual([
      expect.stringContaining(`needs GLIBC_${newGlibc}`),
    ]);
    expect(addonProblems(withVersion(`GLIBCXX_${GLIBCXX}`, "GLIBCXX_3.4.30"), machineX64)).toEqual([
      expect.stringContaining("needs GLIBCXX_3.4.30; Lambda's Amazon Linux 2023 ends at GLIBCXX_3.4.29"),
    ]);
  });

  test("refuses what is no shared object", () => {
    const refusal = ["it is not a 64-bit little-endian ELF shared object"];
    expect(addonProblems(Buffer.from("#!/bin/sh\n"), machineX64)).toEqual(refusal);
    expect(addonProblems(Buffer.alloc(4096), machineX64)).toEqual(refusal);
  });
});

describe("this machine's addon", () => {
  test("answers a query, through #hnswlib", () => {
    const index = new hnswlib.HierarchicalNSW("l2", 3);
    index.initIndex(4);
    index.addPoint([0, 0, 0], 7);
    index.addPoint([1, 1, 1], 8);
    index.addPoint([5, 5, 5], 9);
    expect(index.searchKnn([1, 1, 0.9], 2).neighbors).toEqual([8, 7]);
  });

  test("loads in a plain Node process, as the variant that the bundler calls this machine's", () => {
    const program = `
      import { createRequire } from "node:module";
      import hnswlib from ${JSON.stringify(join(root, "native/load.cjs"))};
      const { cache } = createRequire(import.meta.url);
      const loaded = Object.keys(cache).filter((path) => path.endsWith("addon.node"));
      console.log(JSON.stringify({ distance: new hnswlib.L2Space(2).distance([0, 0], [3, 4]), loaded }));`;
    const output = execFileSync(process.execPath, ["--input-type=module", "-e", program], {
      encoding: "utf8",
    });
    expect(JSON.parse(output)).toEqual({ distance: 25, loaded: [addonPath(hostVariantName())] });
  });
});
