/** What the functions of a store have in common, from its props: their code, and what all of them are given. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Architecture } from "aws-cdk-lib/aws-lambda";
import type { FunctionName } from "../contract/functions.ts";
import { allowLogs } from "./encryption.ts";
import { functionProps, logLevels, type StoreFunctions } from "./handler-function.ts";
import { checkProps } from "./props.ts";
import type { Storage } from "./storage.ts";
import type { VectorStoreProps } from "./vector-store.ts";

export function functionsOf(
  props: VectorStoreProps,
  stage: string,
  { encryptionKey }: Storage,
): StoreFunctions {
  const { architecture = Architecture.X86_64, functions: options = {}, network } = props;
  checkProps("functions", options, functionProps);
  if (options.logLevel !== undefined && !logLevels.includes(options.logLevel))
    throw new Error(
      `functions.logLevel: must be one of ${logLevels.join(", ")}, got ${JSON.stringify(options.logLevel)}`,
    );
  if (encryptionKey !== undefined) allowLogs(encryptionKey);
  const codeFolder = (name: FunctionName) => handlerFolder(name, architecture, props.handlersFolder);
  return { ...options, stage, architecture, codeFolder, network, encryptionKey };
}

function handlerFolder(name: string, architecture: Architecture, given: string | undefined): string {
  // In the package this is dist/esm or dist/cjs, and the bundles are in dist/lambdas/<architecture>.
  const handlers = given ?? join(import.meta.dirname, "../lambdas", architecture.name);
  const folder = join(handlers, name);
  if (existsSync(join(folder, "handler.js"))) return folder;
  throw new Error(
    `handlersFolder: ${folder} has no handler.js; bundle the handlers first (\`npm run bundle\`)`,
  );
}
