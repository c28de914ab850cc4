/** Operations on buckets. */
import { type Answer, xmlAnswer } from "./answer.ts";
import type { Catalog } from "./catalog.ts";
import type { Versioning } from "./catalog-rows.ts";
import { S3Error } from "./error.ts";
import { xmlDocument, xmlText } from "./xml.ts";

/** Request documents are small. */
const documentBytesMax = 4 * 1024 * 1024;

export async function readDocument(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > documentBytesMax) throw new S3Error("MalformedXML", "The XML you provided is too large.");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

export function listBuckets(catalog: Catalog): Answer {
  const Bucket = catalog.buckets().map(({ name, createdMs }) => ({
    Name: name,
    CreationDate: new Date(createdMs).toISOString(),
  }));
  return xmlAnswer(xmlDocument("ListAllMyBucketsResult", { Owner: { ID: "local" }, Buckets: { Bucket } }));
}

export function createBucket(catalog: Catalog, name: string): Answer {
  catalog.createBucket(name);
  return { status: 200, headers: { location: `/${name}` } };
}

export function headBucket(catalog: Catalog, name: string, region: string): Answer {
  catalog.bucket(name);
  return { status: 200, headers: { "x-amz-bucket-region": region } };
}

export function deleteBucket(catalog: Catalog, name: string): Answer {
  catalog.deleteBucket(name);
  return { status: 204, headers: {} };
}

export function getLocation(catalog: Catalog, name: string, region: string): Answer {
  catalog.bucket(name);
  // S3 leaves the element empty for its oldest region.
  const location = region === "us-east-1" ? "" : region;
  return xmlAnswer(xmlDocument("LocationConstraint", {}).replace("></Loc", `>${location}</Loc`));
}

const statusOf: Readonly<Record<Versioning, string | undefined>> = {
  none: undefined,
  enabled: "Enabled",
  suspended: "Suspended",
};

export function getVersioning(catalog: Catalog, name: string): Answer {
  return xmlAnswer(
    xmlDocument("VersioningConfiguration", { Status: statusOf[catalog.bucket(name).versioning] }),
  );
}

export function putVersioning(catalog: Catalog, name: string, document: string): Answer {
  const status = xmlText(document, "Status");
  if (status !== "Enabled" && status !== "Suspended") {
    throw new S3Error("MalformedXML", "Status has to be Enabled or Suspended.");
  }
  catalog.setVersioning(name, status === "Enabled" ? "enabled" : "suspended");
  return { status: 200, headers: {} };
}
