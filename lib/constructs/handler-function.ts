/**
 * One of the Lambda functions: a prebundled handler with its role, log group and limits.
 *
 * The role is the construct's own: Lambda's managed policy would let it write to every log group of the account.
 */
import { Duration, RemovalPolicy, Size } from "aws-cdk-lib";
import {
  Effect,
  type IGrantable,
  PolicyStatement,
  Role,
  ServicePrincipal,
  UnknownPrincipal,
} from "aws-cdk-lib/aws-iam";
import type { IKey } from "aws-cdk-lib/aws-kms";
import {
  Alias,
  type Architecture,
  Code,
  type IVersion,
  Function as LambdaFunction,
  Runtime,
  Tracing,
} from "aws-cdk-lib/aws-lambda";
import { LogGroup, RetentionDays } from "aws-cdk-lib/aws-logs";
import { Construct } from "constructs";
import { type FunctionName, functions } from "../contract/functions.ts";
import { stageKindOf } from "../contract/names.ts";
import { allowNetwork, type NetworkOptions } from "./network.ts";

const logRetention: Readonly<Record<ReturnType<typeof stageKindOf>, RetentionDays>> = {
  passing: RetentionDays.ONE_WEEK,
  staging: RetentionDays.ONE_MONTH,
  prod: RetentionDays.THREE_MONTHS,
};

export const logLevels = ["DEBUG", "INFO", "WARN", "ERROR"] as const;

export interface FunctionOptions {
  /** Least level that is logged; metrics are not log lines of a level. @default "INFO" */
  readonly logLevel?: (typeof logLevels)[number];
  /** Traces every invocation with X-Ray. @default false */
  readonly tracing?: boolean;
}
export const functionProps = { logLevel: true, tracing: true } as const satisfies Record<
  keyof FunctionOptions,
  true
>;

/** What the functions of a store have in common. */
export interface StoreFunctions extends FunctionOptions {
  readonly stage: string;
  readonly architecture: Architecture;
  /** Folder with handler.js, as scripts/build/bundle.ts makes it for the architecture. */
  readonly codeFolder: (name: FunctionName) => string;
  readonly network?: NetworkOptions | undefined;
  /** Of their log groups. */
  readonly encryptionKey?: IKey | undefined;
}

/** What is invoked. */
export type Callee = LambdaFunction | Alias;

export interface HandlerFunctionProps {
  readonly functions: StoreFunctions;
  readonly name: FunctionName;
  /** @default the function's, of the contract */
  readonly description?: string;
  readonly memoryMiB: number;
  readonly timeoutSeconds: number;
  /** @default Lambda's own 512 */
  readonly diskMiB?: number;
  /** @default none: the function shares the account's concurrency */
  readonly reservedConcurrency?: number | undefined;
  /** @default none */
  readonly provisionedConcurrency?: number | undefined;
  readonly environment: Readonly<Record<string, string>>;
}

export class HandlerFunction extends Construct {
  readonly function: LambdaFunction;
  /** What callers invoke: the function, or, with provisioned concurrency, the alias that has it. */
  readonly callee: Callee;

  constructor(scope: Construct, id: string, props: HandlerFunctionProps) {
    super(scope, id);
    const { stage, architecture, codeFolder, encryptionKey, network, logLevel, tracing } = props.functions;
    const logGroup = new LogGroup(this, "Logs", {
      retention: logRetention[stageKindOf(stage)],
      removalPolicy: removalPolicyOf(stage),
      ...(encryptionKey === undefined ? {} : { encryptionKey }),
    });
    const role = new Role(this, "Role", { assumedBy: new ServicePrincipal("lambda.amazonaws.com") });
    logGroup.grantWrite(role);
    this.function = new LambdaFunction(this, "Function", {
      description: props.description ?? functions[props.name].description,
      runtime: Runtime.NODEJS_24_X,
      architecture,
      handler: "handler.handler",
      code: Code.fromAsset(codeFolder(props.name)),
      memorySize: props.memoryMiB,
      timeout: Duration.seconds(props.timeoutSeconds),
      ...(props.diskMiB === undefined ? {} : { ephemeralStorageSize: Size.mebibytes(props.diskMiB) }),
      ...(props.reservedConcurrency === undefined
        ? {}
        : { reservedConcurrentExecutions: props.reservedConcurrency }),
      tracing: tracing === true ? Tracing.ACTIVE : Tracing.DISABLED,
      environment: {
        ...props.environment,
        ...(logLevel === undefined ? {} : { POWERTOOLS_LOG_LEVEL: logLevel }),
      },
      logGroup,
      role,
      ...(network === undefined ? {} : networkOf(network)),
    });
    if (network !== undefined) allowNetwork(this.function);
    this.callee =
      props.provisionedConcurrency === undefined
        ? this.function
        : new Alias(this, "Live", {
            aliasName: "live",
            version: this.function.currentVersion as IVersion,
            provisionedConcurrentExecutions: props.provisionedConcurrency,
          });
  }

  /** Adds exactly these actions on exactly these resources to the function's role. */
  allow(actions: readonly string[], resources: readonly string[]): void {
    this.function.addToRolePolicy(allowing(actions, resources));
  }
}

const networkOf = ({ vpc, subnets, securityGroups }: NetworkOptions) => ({
  vpc,
  ...(subnets === undefined ? {} : { vpcSubnets: subnets }),
  ...(securityGroups === undefined ? {} : { securityGroups }),
});

/** As Lambda takes it where a function is invoked: `name`, or `name:alias`. */
export const calleeName = (callee: Callee): string =>
  callee instanceof Alias ? `${callee.lambda.functionName}:${callee.aliasName}` : callee.functionName;

export const allowing = (actions: readonly string[], resources: readonly string[]): PolicyStatement =>
  new PolicyStatement({ effect: Effect.ALLOW, actions: [...actions], resources: [...resources] });

/** Throws for a grantee that can be given no rights, as an imported function whose role is not known. */
export function giveRight(grantee: IGrantable, statement: PolicyStatement): void {
  const { grantPrincipal } = grantee;
  const isKnown = !(grantPrincipal instanceof UnknownPrincipal);
  if (isKnown && grantPrincipal.addToPrincipalPolicy(statement).statementAdded) return;
  throw new Error(`${statement.actions.join(", ")}: the grantee takes no rights; give its role instead`);
}

/** Sets variables where there is a function to set them on; elsewhere the caller takes the map. */
export function setVariables(grantee: IGrantable, variables: Readonly<Record<string, string>>): void {
  const { addEnvironment } = grantee as { addEnvironment?: unknown };
  if (typeof addEnvironment !== "function") return;
  for (const [name, value] of Object.entries(variables))
    (grantee as LambdaFunction).addEnvironment(name, value);
}

/** What happens to data and logs when the stack goes: only stages that come and go let go of them. */
export const removalPolicyOf = (stage: string): RemovalPolicy =>
  stageKindOf(stage) === "passing" ? RemovalPolicy.DESTROY : RemovalPolicy.RETAIN;
