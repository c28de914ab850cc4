/**
 * One of the Lambda functions: a prebundled handler with its role, log group and limits.
 *
 * The role is the construct's own: Lambda's managed policy would let it write to every log group of the account.
 */
import { Duration, RemovalPolicy, Size } from "aws-cdk-lib";
import { Effect, PolicyStatement, Role, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import {
  type Architecture,
  Code,
  Function as LambdaFunction,
  Runtime,
  Tracing,
} from "aws-cdk-lib/aws-lambda";
import { LogGroup, RetentionDays } from "aws-cdk-lib/aws-logs";
import { Construct } from "constructs";
import { stageKindOf } from "../contract/names.ts";

const logRetention: Readonly<Record<ReturnType<typeof stageKindOf>, RetentionDays>> = {
  passing: RetentionDays.ONE_WEEK,
  staging: RetentionDays.ONE_MONTH,
  prod: RetentionDays.THREE_MONTHS,
};

export interface HandlerFunctionProps {
  readonly stage: string;
  readonly description: string;
  /** Folder with handler.js, as scripts/build/bundle.ts makes it for the architecture. */
  readonly codeFolder: string;
  readonly architecture: Architecture;
  readonly memoryMiB: number;
  readonly timeoutSeconds: number;
  /** @default Lambda's own 512 */
  readonly storageMiB?: number;
  /** @default none: the function shares the account's concurrency */
  readonly reservedConcurrency?: number | undefined;
  readonly environment: Readonly<Record<string, string>>;
}

export class HandlerFunction extends Construct {
  readonly function: LambdaFunction;

  constructor(scope: Construct, id: string, props: HandlerFunctionProps) {
    super(scope, id);
    const logGroup = new LogGroup(this, "Logs", {
      retention: logRetention[stageKindOf(props.stage)],
      removalPolicy: removalPolicyOf(props.stage),
    });
    const role = new Role(this, "Role", { assumedBy: new ServicePrincipal("lambda.amazonaws.com") });
    logGroup.grantWrite(role);
    this.function = new LambdaFunction(this, "Function", {
      description: props.description,
      runtime: Runtime.NODEJS_24_X,
      architecture: props.architecture,
      handler: "handler.handler",
      code: Code.fromAsset(props.codeFolder),
      memorySize: props.memoryMiB,
      timeout: Duration.seconds(props.timeoutSeconds),
      ...(props.storageMiB === undefined ? {} : { ephemeralStorageSize: Size.mebibytes(props.storageMiB) }),
      ...(props.reservedConcurrency === undefined
        ? {}
        : { reservedConcurrentExecutions: props.reservedConcurrency }),
      tracing: Tracing.DISABLED,
      environment: { ...props.environment },
      logGroup,
      role,
    });
  }

  /** Adds exactly these actions on exactly these resources to the function's role. */
  allow(actions: readonly string[], resources: readonly string[]): void {
    this.function.addToRolePolicy(allowing(actions, resources));
  }
}

export const allowing = (actions: readonly string[], resources: readonly string[]): PolicyStatement =>
  new PolicyStatement({ effect: Effect.ALLOW, actions: [...actions], resources: [...resources] });

/** What happens to data and logs when the stack goes: only stages that come and go let go of them. */
export const removalPolicyOf = (stage: string): RemovalPolicy =>
  stageKindOf(stage) === "passing" ? RemovalPolicy.DESTROY : RemovalPolicy.RETAIN;
