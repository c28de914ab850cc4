/**
 * What a stranger has: an empty folder with a project as `cdk init` makes it, the packed package installed by npm, and a PATH on
 * which there is no compiler. Tools of the project that are no part of the package (TypeScript, jest, the CDK, esbuild) are those
 * that are installed here.
 */
import { execFile, execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

const root = join(import.meta.dirname, "../..");
const run = promisify(execFile);

export class Stranger {
  readonly folder = mkdtempSync(join(tmpdir(), "siltstone-package-"));
  readonly project = join(this.folder, "app");
  readonly #path = join(this.folder, "bin");
  /** Paths in the packed package. */
  files: readonly string[] = [];

  async prepare(): Promise<void> {
    mkdirSync(this.project);
    mkdirSync(this.#path);
    symlinkSync(process.execPath, join(this.#path, "node"));
    for (const program of ["npm", "npx", "sh", "bash"])
      symlinkSync(which(program), join(this.#path, program));
    await Promise.all([this.#pack(), this.#init()]);
    await this.run("npm", ["install", "--prefer-offline", "--no-audit", "--no-fund", "../siltstone.tgz"]);
    // After npm, which removes what it does not know.
    for (const name of ["aws-cdk-lib", "constructs", "esbuild", "typescript", "jest", "@types"])
      symlinkSync(join(root, "node_modules", name), join(this.project, "node_modules", name));
    symlinkSync("../esbuild/bin/esbuild", this.bin("esbuild"));
  }

  async #pack(): Promise<void> {
    const args = ["pack", "--ignore-scripts=false", "--json", "--pack-destination", this.folder];
    const { stdout } = await run("npm", args, { cwd: root, maxBuffer: 2 ** 24 });
    const [{ filename, files }] = JSON.parse(stdout.slice(stdout.indexOf("["))) as [
      { filename: string; files: { path: string }[] },
    ];
    this.files = files.map(({ path }) => path);
    symlinkSync(filename, join(this.folder, "siltstone.tgz"));
  }

  async #init(): Promise<void> {
    const cdk = join(root, "node_modules/aws-cdk/bin/cdk");
    await this.run("node", [cdk, "init", "app", "--language", "typescript", "--generate-only"]);
    // Its dependencies are not installed: they are those of this project.
    const manifest = JSON.parse(this.read("package.json")) as object;
    this.write("package.json", JSON.stringify({ ...manifest, dependencies: {}, devDependencies: {} }));
  }

  /** Ends with what it wrote to stdout; throws what it said when it failed. */
  async run(
    command: string,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Promise<string> {
    const { HOME = "", npm_config_cache } = process.env;
    const own = { PATH: this.#path, HOME, ...(npm_config_cache ? { npm_config_cache } : {}), ...env };
    try {
      const { stdout } = await run(join(this.#path, command), args, { cwd: this.project, env: own });
      return stdout;
    } catch (error) {
      const { stdout, stderr } = error as { stdout: string; stderr: string };
      throw new Error(`${command} ${args.join(" ")}: ${stdout}\n${stderr}`.slice(0, 4_000));
    }
  }

  /** What npm linked into the project. */
  bin = (name: string): string => join(this.project, "node_modules/.bin", name);
  read = (path: string): string => readFileSync(join(this.project, path), "utf8");
  write(path: string, text: string): void {
    mkdirSync(dirname(join(this.project, path)), { recursive: true });
    writeFileSync(join(this.project, path), text);
  }
  remove = (): void => rmSync(this.folder, { recursive: true, force: true });
}

const which = (program: string): string =>
  execFileSync("sh", ["-c", `command -v ${program}`], { encoding: "utf8" }).trim();
