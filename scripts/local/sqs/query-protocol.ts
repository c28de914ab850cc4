/**
 * SQS's query protocol, which the AWS CLI 1.x as Debian has it and other older clients speak: a form with `Action`, answered
 * in XML. A call is translated into the JSON protocol, which the server behind speaks, and its answer back. Lists are
 * flattened: `AttributeName.1=All`, `Attribute.1.Name=…&Attribute.1.Value=…`.
 */
import { type XmlElement, xmlDocument } from "../s3/xml.ts";

type Json = Readonly<Record<string, unknown>>;

/** A value of a form by its dotted name: a text, or what stands below it. */
type Tree = { [name: string]: Tree | string };

/** Operations by what their answer holds; those that answer nothing have no result element. */
const operations = {
  CreateQueue: true,
  DeleteQueue: false,
  GetQueueUrl: true,
  ListQueues: true,
  GetQueueAttributes: true,
  SetQueueAttributes: false,
  PurgeQueue: false,
  SendMessage: true,
  SendMessageBatch: true,
  ReceiveMessage: true,
  DeleteMessage: false,
  DeleteMessageBatch: true,
  ChangeMessageVisibility: false,
  ChangeMessageVisibilityBatch: true,
  TagQueue: false,
  UntagQueue: false,
  ListQueueTags: true,
} as const;
type Operation = keyof typeof operations;

const numbers = new Set([
  "DelaySeconds",
  "MaxNumberOfMessages",
  "MaxResults",
  "VisibilityTimeout",
  "WaitTimeSeconds",
]);
/** Lists of texts, by the names that their parts have in a form. */
const lists: Readonly<Record<string, string>> = {
  AttributeName: "AttributeNames",
  MessageAttributeName: "MessageAttributeNames",
  MessageSystemAttributeName: "MessageSystemAttributeNames",
  TagKey: "TagKeys",
};
/** Maps whose parts have a name and a value. */
const maps: Readonly<Record<string, string>> = {
  Attribute: "Attributes",
  MessageAttribute: "MessageAttributes",
  MessageSystemAttribute: "MessageSystemAttributes",
  Tag: "Tags",
};

export interface QueryCall {
  readonly operation: Operation;
  /** The request's body as the JSON protocol has it. */
  readonly body: Json;
}

/** The longest name of a form: SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.DataType. */
const namePartsMax = 6;

/** Null for what is no call of SQS. `queueUrl`: a call may be sent to the queue's own URL. */
export function parseQuery(
  form: Readonly<Record<string, string>>,
  queueUrl: string | null,
): QueryCall | null {
  const { Action: action = "", Version: _version, ...given } = form;
  if (!Object.hasOwn(operations, action)) return null;
  // Names come from the caller: __proto__ is one like the others.
  const tree: Tree = Object.create(null);
  for (const [name, value] of Object.entries(given)) {
    const path = name.split(".", namePartsMax + 1);
    if (path.length > namePartsMax) return null;
    put(tree, path, value);
  }
  const operation = action as Operation;
  const body = bodyOf(tree, operation);
  return {
    operation,
    body: queueUrl === null || "QueueUrl" in body ? body : { ...body, QueueUrl: queueUrl },
  };
}

function put(tree: Tree, path: readonly string[], value: string): void {
  const [first, ...rest] = path as [string, ...string[]];
  if (rest.length === 0) {
    tree[first] = value;
    return;
  }
  const below = tree[first];
  const next: Tree = typeof below === "object" ? below : Object.create(null);
  tree[first] = next;
  put(next, rest, value);
}

function bodyOf(tree: Tree, operation: Operation): Json {
  return Object.fromEntries(
    Object.entries(tree).map(([name, value]): [string, unknown] => {
      if (typeof value === "string") return [name, numbers.has(name) ? Number(value) : value];
      if (name in lists) return [lists[name]!, partsOf(value)];
      if (name in maps) {
        // CreateQueue alone spells its tags small.
        const target = name === "Tag" && operation === "CreateQueue" ? "tags" : maps[name]!;
        return [target, mapOf(value)];
      }
      if (name.endsWith("BatchRequestEntry"))
        return ["Entries", partsOf(value).map((entry) => bodyOf(entry as Tree, operation))];
      return [name, value];
    }),
  );
}

/** The parts of a numbered list, in the order of their numbers. */
const partsOf = (tree: Tree): (Tree | string)[] =>
  Object.entries(tree)
    .sort(([a], [b]) => Number(a) - Number(b))
    .map(([, part]) => part);

function mapOf(tree: Tree): Json {
  return Object.fromEntries(
    partsOf(tree).map((part) => {
      const { Name, Key, Value } = part as Tree;
      const name = Name ?? Key;
      return [typeof name === "string" ? name : "", Value ?? ""];
    }),
  );
}

const namespace = "http://queue.amazonaws.com/doc/2012-11-05/";

export function answerXml({ operation }: QueryCall, answer: Json, requestId: string): string {
  const result = operations[operation] ? { [`${operation}Result`]: contentOf(operation, answer) } : {};
  const content = { ...result, ResponseMetadata: { RequestId: requestId } };
  return xmlDocument(`${operation}Response`, content, namespace);
}

/** `error` is "Code;Sender" or "Code;Receiver": so the JSON protocol names the older protocol's error in a header. */
export function errorXml(error: string, message: string, requestId: string): string {
  const [code = "InternalError", type = "Receiver"] = error.split(";");
  const content = { Error: { Type: type, Code: code, Message: message, Detail: "" }, RequestId: requestId };
  return xmlDocument("ErrorResponse", content, namespace);
}

/** Lists and maps have an element for each of their parts, and none around them. */
function contentOf(operation: Operation, answer: Json): XmlElement {
  const content: Record<string, XmlElement[string]> = {};
  for (const [name, value] of Object.entries(answer)) {
    const each = () => (value as readonly Json[]).map((one) => contentOf(operation, one));
    if (name === "Messages") content.Message = each();
    else if (name === "Successful") content[`${operation}ResultEntry`] = each();
    else if (name === "Failed") content.BatchResultErrorEntry = each();
    else if (name === "QueueUrls") content.QueueUrl = value as readonly string[];
    else if (name === "Tags")
      content.Tag = Object.entries(value as Json).map(([Key, one]) => ({ Key, Value: String(one) }));
    else if (name === "Attributes" || name === "MessageAttributes")
      content[name.slice(0, -1)] = Object.entries(value as Json).map(([Name, one]) => ({
        Name,
        Value: typeof one === "string" ? one : contentOf(operation, one as Json),
      }));
    else if (value !== undefined && value !== null) content[name] = String(value);
  }
  return content;
}
