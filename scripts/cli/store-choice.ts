/** Which store a command acts upon: the local stack, a stage, or whatever stack a store is in. */
import { isStage, stackName, stageRule } from "../../lib/contract/names.ts";
import { invalid } from "../../lib/core/model/errors.ts";

/** The stage that is none: the stack on this machine. */
export const localStage = "local";
/** What `--stack` is where neither it nor `--stage` is said. */
export const stackVariable = "SILTSTONE_STACK";

export interface StoreChoice {
  /** The name that is shown: local, the stage, or what `--stack` was given. */
  readonly name: string;
  /** A stack's name, or a tag of it as KEY=VALUE; null for the local stack. */
  readonly stack: string | null;
  /** How the stack is made, for a user who has none. */
  readonly deployment: string;
  /** Of the local stack: the folder of its state, where it is not the usual one. */
  readonly stateDir?: string;
  /** Of the AWS configuration files: who asks, where it is not as the environment says. */
  readonly profile?: string;
}

export interface StoreOptions {
  readonly stage?: string;
  readonly stack?: string;
}

/** Throws `invalid`. */
export function chosenStore(options: StoreOptions, variables: NodeJS.ProcessEnv): StoreChoice {
  if (options.stage !== undefined && options.stack !== undefined)
    throw invalid("--stage and --stack: both name a store; give one of them");
  const inVariable = options.stage === undefined ? variables[stackVariable] : undefined;
  const stack = options.stack ?? (inVariable === "" ? undefined : inVariable);
  if (stack !== undefined) return ofStack(stack, options.stack === undefined ? stackVariable : "--stack");
  const stage = options.stage ?? localStage;
  if (stage === localStage) return { name: localStage, stack: null, deployment: "`npm start`" };
  if (!isStage(stage)) throw invalid(`--stage: must be ${localStage}, or ${stageRule}, got ${shown(stage)}`);
  return { name: stage, stack: stackName(stage), deployment: `\`npx cdk deploy -c stage=${stage}\`` };
}

/**
 * A store as an argument: local, local:DIR (the folder of its state), a stage, or stack:NAME. `option` names it in errors. Throws
 * `invalid`.
 */
export function storeOf(
  text: string,
  { option, profile }: { option: string; profile: string | undefined },
): StoreChoice {
  const asked = profile === undefined ? {} : { profile };
  if (text.startsWith(`${localStage}:`)) {
    const stateDir = text.slice(localStage.length + 1);
    if (stateDir === "") throw invalid(`${option}: say which folder: local:DIR`);
    return { name: text, stack: null, deployment: "`npm start`", stateDir };
  }
  if (text.startsWith("stack:")) return { ...ofStack(text.slice("stack:".length), option), ...asked };
  return { ...chosenStore({ stage: text }, {}), ...asked };
}

const namePattern = /^[A-Za-z][A-Za-z0-9-]{0,127}$/;
const tagPattern = /^[^=]{1,128}=.{0,256}$/s;

function ofStack(stack: string, from: string): StoreChoice {
  if (!namePattern.test(stack) && !tagPattern.test(stack))
    throw invalid(`${from}: must be a stack's name, or a tag of it as KEY=VALUE, got ${shown(stack)}`);
  return { name: stack, stack, deployment: "`cdk deploy`" };
}

const shown = (text: string): string => JSON.stringify(text.slice(0, 200));
