/** docs/cli.md and the command line say the same: every command, every option, every exit code, and examples that run. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { exitCodes } from "../../scripts/cli/exit-code.ts";
import { MemoryCli } from "./memory-deployment.ts";

const document = readFileSync(join(import.meta.dirname, "../../docs/cli.md"), "utf8");
const cli = new MemoryCli();
afterAll(() => cli.close());

interface Described {
  readonly name: string;
  readonly options: readonly string[];
}

const help = async (words: readonly string[]): Promise<string> => (await cli.run([...words, "--help"])).out;
const section = (text: string, title: string): string =>
  new RegExp(`^${title}:\n((?: .*\n)*)`, "m").exec(text)?.[1] ?? "";

/** Every command that does something, by its help. */
async function commands(words: readonly string[] = []): Promise<Described[]> {
  const text = await help(words);
  const below = [...section(text, "Commands").matchAll(/^ {2}([a-z-]+)/gm)].map(([, name]) => name!);
  const groups = below.filter((name) => name !== "help");
  if (groups.length > 0) return (await Promise.all(groups.map((name) => commands([...words, name])))).flat();
  const options = [...section(text, "Options").matchAll(/^ {2}(--[a-z-]+)/gm)].map(([, name]) => name!);
  return [{ name: words.join(" "), options: [...new Set(options)].filter((name) => name !== "--help") }];
}

/** What the document says of a command: its lines among the synopses, and the text of its section. */
const synopses = [...document.matchAll(/^```sh\n([\s\S]*?)^```/gm)].map(([, block]) => block!).join("\n");
const sectionOf = (name: string): string =>
  document.split(/^## /m).find((part) => part.includes(`\nsilt ${name}`)) ?? "";

test("every command has its line, and every option of it is in its section", async () => {
  const all = await commands();
  expect(all.length).toBeGreaterThan(30);
  const missing = all.flatMap(({ name, options }) => {
    if (!new RegExp(`^silt ${name}(?= |$)`, "m").test(synopses)) return [`silt ${name}`];
    const text = sectionOf(name);
    return options
      .filter((option) => !new RegExp(`${option}(?![a-z-])`).test(text))
      .map((option) => `silt ${name} ${option}`);
  });
  expect(missing).toEqual([]);
});

test("every option and command that the document names exists", async () => {
  const all = await commands();
  const options = new Set(all.flatMap((one) => one.options));
  const global = ["--stage", "--json", "--help", "--version"];
  const known = new Set([...options, ...global]);
  const named = [...synopses.matchAll(/^silt .*$/gm)].flatMap(([line]) => line.match(/--[a-z-]+/g) ?? []);
  expect(named.filter((option) => !known.has(option))).toEqual([]);
  const words = all.map(({ name }) => name);
  const lines = [...synopses.matchAll(/^(?:npx )?silt (?:--stage \S+ )?(.*)$/gm)].map(([, rest]) => rest!);
  const unknown = lines.filter((line) => !words.some((name) => line === name || line.startsWith(`${name} `)));
  expect(unknown).toEqual([]);
});

test("every exit code is in the table", () => {
  for (const code of Object.values(exitCodes)) expect(document).toMatch(new RegExp(`^\\| ${code} \\| `, "m"));
});
