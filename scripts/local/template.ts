/**
 * Reads a synthesised CloudFormation template: resolves its intrinsic functions over names that are known before
 * anything is made. Whatever a template refers to without defining it is an error that names it, as in AWS.
 */
export interface Template {
  readonly Resources: Readonly<Record<string, TemplateResource>>;
  readonly Outputs?: Readonly<Record<string, { readonly Value: unknown }>>;
  readonly Parameters?: Readonly<Record<string, { readonly Default?: unknown }>>;
}
export interface TemplateResource {
  readonly Type: string;
  readonly Properties?: Readonly<Record<string, unknown>>;
}

/** Checks the shape of what was read from a file or came from the CDK. */
export function parseTemplate(value: { readonly Resources: Readonly<Record<string, unknown>> }): Template {
  for (const [logicalId, resource] of Object.entries(value.Resources)) {
    if (typeof (resource as Partial<TemplateResource> | null)?.Type !== "string") {
      throw new Error(`${logicalId}: a resource of the template has no Type`);
    }
  }
  return value as Template;
}

/** What other parts of the template can learn of a resource. */
export interface ResourceNames {
  /** What Ref gives. */
  readonly ref: string;
  /** What Fn::GetAtt gives, by attribute. */
  readonly attributes: Readonly<Record<string, string>>;
}

type Intrinsic = (argument: unknown, where: string) => unknown;

export class TemplateResolver {
  private readonly names: ReadonlyMap<string, ResourceNames>;
  private readonly pseudo: Readonly<Record<string, string>>;
  private readonly intrinsics: Readonly<Record<string, Intrinsic>> = {
    Ref: (argument, where) => this.ref(String(argument), where),
    "Fn::GetAtt": (argument, where) => {
      const [logicalId, ...attribute] = Array.isArray(argument)
        ? argument.map(String)
        : String(argument).split(".");
      return this.attribute(logicalId!, attribute.join("."), where);
    },
    "Fn::Join": (argument, where) => {
      const [separator, parts] = this.list(argument, where);
      return this.list(parts, where).map(String).join(String(separator));
    },
    "Fn::Sub": (argument, where) => this.substitute(argument, where),
    "Fn::Select": (argument, where) => {
      const [index, values] = this.list(argument, where);
      const value = this.list(values, where)[Number(index)];
      if (value === undefined) throw new Error(`${where}: Fn::Select has no element ${index}`);
      return value;
    },
    "Fn::Split": (argument, where) => {
      const [separator, text] = this.list(argument, where);
      return String(text).split(String(separator));
    },
  };

  constructor(
    names: ReadonlyMap<string, ResourceNames>,
    stack: { name: string; region: string; accountId: string },
  ) {
    this.names = names;
    this.pseudo = {
      "AWS::Region": stack.region,
      "AWS::AccountId": stack.accountId,
      "AWS::Partition": "aws",
      "AWS::URLSuffix": "amazonaws.com",
      "AWS::StackName": stack.name,
      "AWS::StackId": `arn:aws:cloudformation:${stack.region}:${stack.accountId}:stack/${stack.name}/local`,
    };
  }

  /** The value with every intrinsic function worked out; `where` is its path in the template, for errors. */
  resolve(value: unknown, where: string): unknown {
    if (Array.isArray(value)) return value.map((item, index) => this.resolve(item, `${where}[${index}]`));
    if (typeof value !== "object" || value === null) return value;
    const entries = Object.entries(value);
    const [first] = entries;
    if (entries.length === 1 && first) {
      const [name, argument] = first;
      const intrinsic = this.intrinsics[name];
      if (intrinsic) return intrinsic(argument, where);
      if (name.startsWith("Fn::")) throw new Error(`${where}: ${name} is not known to the local stack`);
    }
    const resolved = entries.map(([name, item]) => [name, this.resolve(item, `${where}.${name}`)]);
    return Object.fromEntries(resolved.filter(([, item]) => item !== undefined));
  }

  /** An ARN's or name's owner is found by value: schedules and URLs name their function so. */
  findByValue(value: unknown): string | undefined {
    for (const [logicalId, { ref, attributes }] of this.names) {
      if (ref === value || attributes.Arn === value) return logicalId;
    }
    return undefined;
  }

  private list(argument: unknown, where: string): unknown[] {
    const list = this.resolve(argument, where);
    if (!Array.isArray(list)) throw new Error(`${where}: expected a list, got ${JSON.stringify(list)}`);
    return list;
  }

  private ref(name: string, where: string): string | undefined {
    if (name === "AWS::NoValue") return undefined;
    const value = this.pseudo[name] ?? this.names.get(name)?.ref;
    if (value === undefined) throw undefinedReference(name, where);
    return value;
  }

  private attribute(logicalId: string, attribute: string, where: string): string {
    const known = this.names.get(logicalId);
    if (!known) throw undefinedReference(logicalId, where);
    const value = known.attributes[attribute];
    if (value === undefined)
      throw new Error(`${where}: the local ${logicalId} has no attribute ${attribute}`);
    return value;
  }

  private substitute(argument: unknown, where: string): string {
    const [text, variables] = Array.isArray(argument) ? argument : [argument, {}];
    return String(text).replace(/\$\{(!?)([^}]+)\}/g, (_, literal: string, name: string) => {
      if (literal === "!") return `\${${name}}`;
      const given = (variables as Record<string, unknown>)[name];
      if (given !== undefined) return String(this.resolve(given, where));
      const dot = name.indexOf(".");
      return dot < 0
        ? String(this.ref(name, where) ?? "")
        : this.attribute(name.slice(0, dot), name.slice(dot + 1), where);
    });
  }
}

function undefinedReference(name: string, where: string): Error {
  return new Error(`${where} refers to "${name}", which the template does not define`);
}
