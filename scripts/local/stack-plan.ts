/**
 * What a template asks for, as a plan: pure, no server is touched. Whatever cannot be run is an error that names the
 * resource.
 */

import type { CustomResourceDefinition } from "./custom-resources.ts";
import type { AccessRules } from "./iam/access.ts";
import { accessRules, judgedTypes } from "./iam/rules.ts";
import type { EventSourceDefinition } from "./lambda/event-sources.ts";
import type { FunctionDefinition } from "./lambda/function.ts";
import type { UrlAuth } from "./lambda/function-url.ts";
import { rateMs, type ScheduleDefinition } from "./lambda/schedules.ts";
import { accountId, type NamingOptions, nameResources } from "./resource-names.ts";
import { type ResourceNames, type Template, TemplateResolver } from "./template.ts";

export interface StackPlanOptions extends NamingOptions {
  /** Absolute path of each function's code, by the function's logical id. */
  readonly codeFolders: Readonly<Record<string, string>>;
}
export interface StackPlan {
  readonly buckets: readonly { name: string; isVersioned: boolean }[];
  /** Dead-letter queues come before the queues that name them. */
  readonly queues: readonly { name: string; url: string; attributes: Record<string, string> }[];
  readonly tables: readonly { name: string; properties: Readonly<Record<string, unknown>> }[];
  readonly functions: readonly FunctionDefinition[];
  readonly urls: readonly { functionName: string; alias?: string; auth: UrlAuth; url: string }[];
  readonly schedules: readonly ScheduleDefinition[];
  readonly eventSources: readonly EventSourceDefinition[];
  readonly customResources: readonly CustomResourceDefinition[];
  readonly access: AccessRules;
  readonly outputs: Readonly<Record<string, string>>;
}

type Properties = Readonly<Record<string, unknown>>;

interface FoundResource {
  readonly logicalId: string;
  readonly ref: string;
  readonly arn: string;
  /** Resolved. */
  readonly properties: Properties;
}

/** The template's resources by type, and who is meant by a name or an ARN. */
class Resources {
  readonly resolver: TemplateResolver;
  private readonly template: Template;
  private readonly names: ReadonlyMap<string, ResourceNames>;

  constructor({ template, stackName, region }: StackPlanOptions, names: ReadonlyMap<string, ResourceNames>) {
    this.template = template;
    this.names = names;
    this.resolver = new TemplateResolver(names, { name: stackName, region, accountId });
  }

  of(type: string): FoundResource[] {
    return Object.entries(this.template.Resources).flatMap(([logicalId, { Type, Properties }]) => {
      if (Type !== type) return [];
      const { ref, attributes } = this.names.get(logicalId)!;
      const properties = this.resolver.resolve(Properties ?? {}, logicalId) as Properties;
      return [{ logicalId, properties, ref, arn: attributes.Arn ?? "" }];
    });
  }

  /** What Ref gives for the resource of that type which `reference` names; `logicalId` is the one that asks. */
  refOf(type: string, reference: unknown, logicalId: string): string {
    const found = this.resolver.findByValue(reference);
    if (found === undefined || this.template.Resources[found]?.Type !== type) {
      throw new Error(`${logicalId}: no ${type} of this template is ${JSON.stringify(reference)}`);
    }
    return this.names.get(found)!.ref;
  }
}

export function functionUrlIds(template: Template): string[] {
  return Object.entries(template.Resources).flatMap(([id, { Type }]) =>
    Type === "AWS::Lambda::Url" ? [id] : [],
  );
}

export function planStack(options: StackPlanOptions): StackPlan {
  const resources = new Resources(options, nameResources(options));
  const tables = [...resources.of("AWS::DynamoDB::Table"), ...resources.of("AWS::DynamoDB::GlobalTable")];
  return {
    buckets: resources.of("AWS::S3::Bucket").map(({ ref, properties }) => ({
      name: ref,
      isVersioned: (properties.VersioningConfiguration as Properties | undefined)?.Status === "Enabled",
    })),
    queues: planQueues(resources),
    tables: tables.map(({ ref, properties }) => ({ name: ref, properties })),
    functions: planFunctions(resources, options.codeFolders),
    urls: resources.of("AWS::Lambda::Url").map(({ logicalId, properties }) => ({
      functionName: resources.refOf("AWS::Lambda::Function", properties.TargetFunctionArn, logicalId),
      ...(properties.Qualifier === undefined ? {} : { alias: String(properties.Qualifier) }),
      auth: properties.AuthType === "NONE" ? ("NONE" as const) : ("AWS_IAM" as const),
      url: options.functionUrls[logicalId]!,
    })),
    schedules: planSchedules(resources),
    eventSources: planEventSources(resources),
    customResources: planCustomResources(options.template, resources),
    access: accessRules(
      judgedTypes.flatMap((type) => resources.of(type).map((found) => ({ ...found, type }))),
      accountId,
    ),
    outputs: Object.fromEntries(
      Object.entries(options.template.Outputs ?? {}).map(([name, { Value }]) => [
        name,
        String(resources.resolver.resolve(Value, `Outputs.${name}`)),
      ]),
    ),
  };
}

function planFunctions(
  resources: Resources,
  codeFolders: StackPlanOptions["codeFolders"],
): FunctionDefinition[] {
  const failureQueues = new Map(
    resources.of("AWS::Lambda::EventInvokeConfig").flatMap(({ logicalId, properties }) => {
      const { OnFailure } = (properties.DestinationConfig ?? {}) as {
        OnFailure?: { Destination: unknown };
      };
      if (OnFailure === undefined) return [];
      const functionName = resources.refOf("AWS::Lambda::Function", properties.FunctionName, logicalId);
      return [[functionName, resources.refOf("AWS::SQS::Queue", OnFailure.Destination, logicalId)]];
    }),
  );
  const aliases = resources.of("AWS::Lambda::Alias");
  return resources.of("AWS::Lambda::Function").map((found) => {
    const failureQueueUrl = failureQueues.get(found.ref);
    return {
      ...toFunction(found, codeFolders),
      ...aliasesOf(found, aliases),
      ...(failureQueueUrl === undefined ? {} : { failureQueueUrl }),
    };
  });
}

/** Its aliases, and the processes that they provision. */
function aliasesOf(
  { ref }: FoundResource,
  all: readonly FoundResource[],
): Pick<FunctionDefinition, "aliases" | "provisionedConcurrency"> {
  const own = all
    .filter(({ properties }) => properties.FunctionName === ref)
    .map(({ properties }) => properties);
  if (own.length === 0) return {};
  const provisioned = own.map(({ ProvisionedConcurrencyConfig: config }) =>
    Number((config as Properties | undefined)?.ProvisionedConcurrentExecutions ?? 0),
  );
  return {
    aliases: own.map(({ Name }) => String(Name)),
    provisionedConcurrency: provisioned.reduce((sum, one) => sum + one, 0),
  };
}

function planSchedules(resources: Resources): ScheduleDefinition[] {
  return resources.of("AWS::Scheduler::Schedule").flatMap(({ logicalId, ref, properties }) => {
    if (properties.State === "DISABLED") return [];
    const target = properties.Target as Properties;
    const expression = String(properties.ScheduleExpression);
    // Throws for what does not run locally.
    rateMs(expression);
    const functionName = resources.refOf("AWS::Lambda::Function", target.Arn, logicalId);
    const roleArn = String(target.RoleArn);
    return [{ name: ref, expression, functionName, roleArn, input: String(target.Input ?? "{}") }];
  });
}

function planCustomResources(template: Template, resources: Resources): CustomResourceDefinition[] {
  const types = new Set(Object.values(template.Resources).map(({ Type }) => Type));
  return [...types]
    .filter((type) => type.startsWith("Custom::"))
    .flatMap((type) => resources.of(type).map((found) => ({ type, ...found })))
    .map(({ type, logicalId, properties }) => {
      const functionName = resources.refOf("AWS::Lambda::Function", properties.ServiceToken, logicalId);
      return { type, logicalId, functionName, properties };
    });
}

function planEventSources(resources: Resources): EventSourceDefinition[] {
  return resources.of("AWS::Lambda::EventSourceMapping").flatMap(({ logicalId, properties }) => {
    if (properties.Enabled === false) return [];
    const responseTypes = (properties.FunctionResponseTypes ?? []) as readonly string[];
    return [
      {
        functionName: resources.refOf("AWS::Lambda::Function", properties.FunctionName, logicalId),
        queueUrl: resources.refOf("AWS::SQS::Queue", properties.EventSourceArn, logicalId),
        queueArn: String(properties.EventSourceArn),
        batchSize: Math.min(Number(properties.BatchSize ?? 10), 10),
        reportsItemFailures: responseTypes.includes("ReportBatchItemFailures"),
      },
    ];
  });
}

const queueAttributeNames = [
  "VisibilityTimeout",
  "MessageRetentionPeriod",
  "DelaySeconds",
  "ReceiveMessageWaitTimeSeconds",
  "MaximumMessageSize",
] as const;

function planQueues(resources: Resources): StackPlan["queues"] {
  const queues = resources.of("AWS::SQS::Queue").map(({ logicalId, ref, properties }) => {
    if (properties.FifoQueue !== undefined) throw new Error(`${logicalId}: FIFO queues do not run locally`);
    const attributes: Record<string, string> = {};
    for (const name of queueAttributeNames) {
      if (properties[name] !== undefined) attributes[name] = String(properties[name]);
    }
    const redrive = properties.RedrivePolicy as Properties | undefined;
    if (redrive !== undefined) {
      resources.refOf("AWS::SQS::Queue", redrive.deadLetterTargetArn, logicalId);
      attributes.RedrivePolicy = JSON.stringify(redrive);
    }
    return { name: ref.slice(ref.lastIndexOf("/") + 1), url: ref, attributes };
  });
  return queues.sort(
    (a, b) => Number("RedrivePolicy" in a.attributes) - Number("RedrivePolicy" in b.attributes),
  );
}

function toFunction(found: FoundResource, codeFolders: StackPlanOptions["codeFolders"]): FunctionDefinition {
  const { logicalId, properties } = found;
  const codeFolder = codeFolders[logicalId];
  if (codeFolder === undefined) throw new Error(`${logicalId}: no folder holds this function's code`);
  const runtime = String(properties.Runtime);
  if (!runtime.startsWith("nodejs"))
    throw new Error(`${logicalId}: only Node.js functions run locally, not ${runtime}`);
  const variables = (properties.Environment as Properties | undefined)?.Variables ?? {};
  const reserved = properties.ReservedConcurrentExecutions;
  const logGroup = (properties.LoggingConfig as Properties | undefined)?.LogGroup;
  return {
    name: found.ref,
    arn: found.arn,
    codeFolder,
    runtime,
    handler: String(properties.Handler),
    memoryMegabytes: Number(properties.MemorySize ?? 128),
    timeoutMs: Number(properties.Timeout ?? 3) * 1000,
    environment: Object.fromEntries(Object.entries(variables).map(([name, value]) => [name, String(value)])),
    ...(reserved === undefined ? {} : { reservedConcurrency: Number(reserved) }),
    ...(logGroup === undefined ? {} : { logGroup: String(logGroup) }),
  };
}
