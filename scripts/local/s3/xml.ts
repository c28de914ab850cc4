/**
 * The little XML that S3 and SQS's query protocol speak: documents are written from nested values, and the four flat request documents
 * (delete list, completed parts, versioning, location) are read by element name.
 */

/** An element's content: text, child elements, or one child element repeated. Undefined leaves the element out. */
export type XmlContent = string | number | boolean | undefined | XmlElement | readonly XmlElement[];
export interface XmlElement {
  readonly [name: string]: XmlContent | readonly string[];
}

const s3Namespace = "http://s3.amazonaws.com/doc/2006-03-01/";

/** A whole document with the service's namespace on its root. */
export function xmlDocument(root: string, content: XmlElement, namespace = s3Namespace): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n<${root} xmlns="${namespace}">${children(content)}</${root}>`;
}

/** The error document, which carries no namespace. */
export function xmlError(content: XmlElement): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n<Error>${children(content)}</Error>`;
}

function children(content: XmlElement): string {
  return Object.entries(content)
    .map(([name, value]) => element(name, value))
    .join("");
}

function element(name: string, value: XmlContent | readonly string[]): string {
  if (value === undefined) return "";
  if (Array.isArray(value)) return value.map((item: XmlContent) => element(name, item)).join("");
  if (typeof value === "object") return `<${name}>${children(value as XmlElement)}</${name}>`;
  return `<${name}>${escapeXml(String(value))}</${name}>`;
}

/** Control characters become references: S3 writes them so, although XML 1.0 has no place for them. */
function escapeXml(text: string): string {
  return text.replace(/[&<>"\p{Cc}]/gu, (character) => {
    if (character === "&") return "&amp;";
    if (character === "<") return "&lt;";
    if (character === ">") return "&gt;";
    if (character === '"') return "&quot;";
    return `&#x${character.codePointAt(0)!.toString(16)};`;
  });
}

/** The raw inner texts of every element of that name, in document order. Elements of one name must not nest. */
export function xmlElements(document: string, name: string): string[] {
  const pattern = new RegExp(`<${name}(?:\\s[^>]*)?>([\\s\\S]*?)</${name}>`, "g");
  return [...document.matchAll(pattern)].map((match) => match[1]!);
}

/** The text of the first element of that name, or undefined. */
export function xmlText(document: string, name: string): string | undefined {
  const inner = xmlElements(document, name)[0];
  return inner === undefined ? undefined : unescapeXml(inner);
}

function unescapeXml(text: string): string {
  return text.replace(/&(?:#x([0-9a-fA-F]+)|#([0-9]+)|(amp|lt|gt|quot|apos));/g, (_, hex, decimal, name) => {
    if (hex !== undefined) return String.fromCodePoint(Number.parseInt(hex, 16));
    if (decimal !== undefined) return String.fromCodePoint(Number(decimal));
    return { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" }[
      name as "amp" | "lt" | "gt" | "quot" | "apos"
    ];
  });
}
