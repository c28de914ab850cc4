/** Packs what make.py left: `node pack.mjs FOLDER NAME` writes NAME.json.br beside this file. */
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants } from "node:zlib";

const [folder, name] = process.argv.slice(2);
const paths = readdirSync(folder, { recursive: true }).filter((path) =>
  statSync(join(folder, path)).isFile(),
);
const files = Object.fromEntries(
  paths
    .filter((path) => path !== "expected.json")
    .map((path) => [path, readFileSync(join(folder, path)).toString("base64")]),
);
const expected = JSON.parse(readFileSync(join(folder, "expected.json"), "utf8"));
const packed = brotliCompressSync(JSON.stringify({ files, expected }), {
  params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24 },
});
writeFileSync(join(import.meta.dirname, `${name}.json.br`), packed);
