/** JSON that users give to the command line, from others' hands: what is too deep is refused as bad input, and no defect. */
import { tmpdir } from "node:os";
import { MemoryCli } from "../cli/memory-deployment.ts";

const cli = new MemoryCli();
beforeAll(() => cli.run(["collection", "create", "docs", "--dims", "2", "--field", "kind:string"]));
afterAll(() => cli.close());

const lists = (levels: number) => "[".repeat(levels) + "]".repeat(levels);
const objects = (levels: number) => `${'{"a":'.repeat(levels)}1${"}".repeat(levels)}`;

test.each([lists(2_000_000), objects(100_000), `{"id":"a","vector":[1,2],"metadata":${objects(10_000)}}`])(
  "silt put: nested too deep, in whatever",
  async (stdin) => {
    const { code, err } = await cli.run(["put", "docs"], { stdin });
    expect([code, err]).toEqual([
      2,
      expect.stringMatching(/^error \(invalid\): body: nested deeper than 34/),
    ]);
  },
);

test.each([
  ["--filter", objects(5_000)],
  ["--vector", lists(5_000)],
])("silt query %s: nested too deep", async (option, text) => {
  const { code, err } = await cli.run(["query", "docs", "--vector", "[1,2]", option, text]);
  expect([code, err]).toEqual([2, expect.stringContaining("nested deeper than 34 levels")]);
});

test.each([
  ["--vector", "x".repeat(100_000)],
  ["--filter", `{"a":${"é".repeat(100_000)}`],
  ["--top-k", "9".repeat(100_000)],
  ["--exclude-not-known", "x".repeat(100_000)],
  [`--${"x".repeat(100_000)}`, "1"],
])("silt query %.20s of 100 KB: what is wrong is said in less than 4 KB", async (option, text) => {
  for (const json of [[], ["--json"]]) {
    const { code, out, err } = await cli.run([...json, "query", "docs", option, text]);
    expect([code, json.length > 0 ? out : err]).toEqual([2, expect.stringContaining(option.slice(0, 12))]);
    expect(Buffer.byteLength(out + err)).toBeLessThan(4_096);
    if (option === "--vector") expect(out + err).toContain("It must be JSON");
  }
});

const noFiles = ["/proc/self/mem", tmpdir(), "/nobody/made/this"];
test.each(
  noFiles.flatMap((path) => [
    [path, ["put", "docs", "--file", path]],
    [path, ["import", "docs", "--records", path]],
    [path, ["query", "docs", "--vectors", path]],
  ]) as [string, string[]][],
)("%s is no file that can be read: silt %j", async (path, words) => {
  const { code, err } = await cli.run(words);
  expect([code, err]).toEqual([2, expect.stringMatching(/^error \(invalid\): --(file|records|vectors): /)]);
  expect(err).toContain(path);
});

test("silt put --file: a device without end is read as far as a put may go", async () => {
  const { code, err } = await cli.run(["put", "docs", "--file", "/dev/zero"]);
  expect([code, err]).toEqual([2, expect.stringContaining("one put takes at most")]);
});
