/** What Siltstone relies on in S3, told through the AWS SDK alone. */
import { createHash } from "node:crypto";
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  PutObjectCommand,
  type S3ServiceException,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { type S3Target, s3Targets } from "./aws-target.ts";

const racers = 50;
const mebibyte = 1024 * 1024;

/** Runs calls to their ends and sorts them into winners and the status codes of losers. */
async function settle<T>(calls: readonly Promise<T>[]): Promise<{ won: T[]; lost: number[] }> {
  const results = await Promise.allSettled(calls);
  return {
    won: results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : [])),
    lost: results.flatMap((result) =>
      result.status === "rejected"
        ? [(result.reason as S3ServiceException).$metadata?.httpStatusCode ?? -1]
        : [],
    ),
  };
}

/** Deterministic bytes that do not repeat at any part boundary. */
function noise(bytes: number): Buffer {
  const block = createHash("sha512").update("noise").digest();
  const out = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += 64) block.copy(out, at);
  for (let at = 0; at < bytes; at += 4096) out.writeUInt32LE(at, Math.min(at, bytes - 4));
  return out;
}

describe.each(s3Targets)("%s", (_name, open) => {
  let target: S3Target;
  let key: (name: string) => { Bucket: string; Key: string };

  beforeAll(async () => {
    target = await open();
    key = (name) => ({ Bucket: target.bucket, Key: target.prefix + name });
  });
  afterAll(() => target.close());

  const put = (name: string, Body: string | Uint8Array, more: object = {}) =>
    target.s3.send(new PutObjectCommand({ ...key(name), Body, ...more }));
  const get = async (name: string, more: object = {}) => {
    const answer = await target.s3.send(new GetObjectCommand({ ...key(name), ...more }));
    return { ...answer, text: await answer.Body!.transformToString() };
  };
  const listed = async (folder: string, more: object = {}) => {
    const input = { Bucket: target.bucket, Prefix: target.prefix + folder, ...more };
    const answer = await target.s3.send(new ListObjectsV2Command(input));
    const strip = (name: string | undefined) => name!.slice(target.prefix.length + folder.length);
    return {
      ...answer,
      keys: (answer.Contents ?? []).map((entry) => strip(entry.Key)),
      folders: (answer.CommonPrefixes ?? []).map((entry) => strip(entry.Prefix)),
    };
  };

  test("an object comes back with its bytes, type, metadata and etag", async () => {
    const written = await put("plain", "stone", { ContentType: "text/plain", Metadata: { layer: "7" } });
    const read = await get("plain");
    expect(read).toMatchObject({ text: "stone", ContentType: "text/plain", Metadata: { layer: "7" } });
    expect(read.ETag).toBe(written.ETag);
    expect(read.ETag).toBe(`"${createHash("md5").update("stone").digest("hex")}"`);
    const head = await target.s3.send(new HeadObjectCommand(key("plain")));
    expect(head).toMatchObject({ ContentLength: 5, ETag: written.ETag });
  });

  test("an absent object is NoSuchKey, and NotFound to HEAD", async () => {
    await expect(get("absent")).rejects.toMatchObject({
      name: "NoSuchKey",
      $metadata: { httpStatusCode: 404 },
    });
    await expect(target.s3.send(new HeadObjectCommand(key("absent")))).rejects.toMatchObject({
      name: "NotFound",
    });
  });

  test(`${racers} creators with If-None-Match: one wins`, async () => {
    const calls = Array.from({ length: racers }, (_, n) =>
      put("born-once", `creator ${n}`, { IfNoneMatch: "*" }),
    );
    const { won, lost } = await settle(calls);
    expect(won).toHaveLength(1);
    expect(lost.every((status) => status === 412 || status === 409)).toBe(true);
    expect((await get("born-once")).ETag).toBe(won[0]!.ETag);
  });

  test(`${racers} writers with one If-Match: one wins`, async () => {
    const { ETag } = await put("pointer", "version 0");
    const calls = Array.from({ length: racers }, (_, n) => put("pointer", `writer ${n}`, { IfMatch: ETag }));
    const { won, lost } = await settle(calls);
    expect(won).toHaveLength(1);
    expect(lost).toHaveLength(racers - 1);
    expect(lost.every((status) => status === 412 || status === 409)).toBe(true);
    expect((await get("pointer")).ETag).toBe(won[0]!.ETag);
  });

  test("If-Match on an absent object is 404; If-None-Match after a delete creates again", async () => {
    const absent = put("never-was", "x", { IfMatch: '"00000000000000000000000000000000"' });
    await expect(absent).rejects.toMatchObject({ $metadata: { httpStatusCode: 404 } });
    await put("reborn", "first", { IfNoneMatch: "*" });
    await target.s3.send(new DeleteObjectCommand(key("reborn")));
    await put("reborn", "second", { IfNoneMatch: "*" });
    expect((await get("reborn")).text).toBe("second");
  });

  test("conditional reads: 304 while the etag holds, 412 when it does not", async () => {
    const { ETag } = await put("conditional", "x");
    await expect(get("conditional", { IfNoneMatch: ETag })).rejects.toMatchObject({
      $metadata: { httpStatusCode: 304 },
    });
    await expect(get("conditional", { IfMatch: '"0"' })).rejects.toMatchObject({
      $metadata: { httpStatusCode: 412 },
    });
    expect((await get("conditional", { IfMatch: ETag })).text).toBe("x");
  });

  test("ranges: a middle, an open end, a suffix, past the end", async () => {
    await put("ranged", "0123456789");
    expect(await get("ranged", { Range: "bytes=2-4" })).toMatchObject({
      text: "234",
      ContentRange: "bytes 2-4/10",
    });
    expect((await get("ranged", { Range: "bytes=7-" })).text).toBe("789");
    expect((await get("ranged", { Range: "bytes=-3" })).text).toBe("789");
    expect((await get("ranged", { Range: "bytes=8-99" })).text).toBe("89");
    await expect(get("ranged", { Range: "bytes=10-" })).rejects.toMatchObject({
      name: "InvalidRange",
      $metadata: { httpStatusCode: 416 },
    });
  });

  test("lists ascend by the bytes of UTF-8, whatever the keys hold", async () => {
    const names = [
      "a b",
      "a+b",
      "a%20b",
      "a%2Fb",
      "a&<>'\"",
      "a/b",
      "Z",
      "z",
      "é",
      "日本",
      "\u{fb01}",
      "\u{1f600}",
      "a//b",
    ];
    await Promise.all(names.map((name) => put(`odd/${name}`, name)));
    const inOrder = [...names].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    expect((await listed("odd/")).keys).toEqual(inOrder);
    for (const name of names) expect((await get(`odd/${name}`)).text).toBe(name);
    const encoded = await listed("odd/", { EncodingType: "url" });
    const decoded = encoded.Contents!.map((entry) => decodeURIComponent(entry.Key!.replaceAll("+", " ")));
    expect(decoded.map((name) => name.slice(`${target.prefix}odd/`.length))).toEqual(inOrder);
  });

  test("lists page, start behind a key, and fold at a delimiter", async () => {
    const names = ["1/a", "1/b", "2/a", "2/b/c", "3", "4/z"];
    await Promise.all(names.map((name) => put(`tree/${name}`, "x")));
    const pages: string[][] = [];
    let token: string | undefined;
    for (let page = 0; page < 10; page++) {
      const answer = await listed("tree/", { MaxKeys: 2, ContinuationToken: token });
      pages.push(answer.keys);
      token = answer.NextContinuationToken;
      expect(answer.IsTruncated).toBe(token !== undefined);
      if (token === undefined) break;
    }
    expect(pages).toEqual([
      ["1/a", "1/b"],
      ["2/a", "2/b/c"],
      ["3", "4/z"],
    ]);
    expect((await listed("tree/", { StartAfter: `${target.prefix}tree/2/a` })).keys).toEqual([
      "2/b/c",
      "3",
      "4/z",
    ]);
    expect((await listed("tree/", { StartAfter: `${target.prefix}tree/2/aa` })).keys).toEqual([
      "2/b/c",
      "3",
      "4/z",
    ]);
    expect(await listed("tree/", { Delimiter: "/" })).toMatchObject({
      keys: ["3"],
      folders: ["1/", "2/", "4/"],
      KeyCount: 4,
    });
    const first = await listed("tree/", { Delimiter: "/", MaxKeys: 2 });
    const rest = await listed("tree/", { Delimiter: "/", ContinuationToken: first.NextContinuationToken });
    expect([first.folders, rest.keys, rest.folders]).toEqual([["1/", "2/"], ["3"], ["4/"]]);
  });

  test("versions stay readable, deletes leave a marker, and removing the marker brings the object back", async () => {
    const one = await put("versioned", "one");
    const two = await put("versioned", "two");
    expect(one.VersionId).not.toBe(two.VersionId);
    expect((await get("versioned", { VersionId: one.VersionId })).text).toBe("one");
    const deleted = await target.s3.send(new DeleteObjectCommand(key("versioned")));
    expect(deleted.DeleteMarker).toBe(true);
    await expect(get("versioned")).rejects.toMatchObject({ name: "NoSuchKey" });
    await expect(get("versioned", { VersionId: deleted.VersionId })).rejects.toMatchObject({
      $metadata: { httpStatusCode: 405 },
    });
    const history = await target.s3.send(
      new ListObjectVersionsCommand({ Bucket: target.bucket, Prefix: `${target.prefix}versioned` }),
    );
    expect(history.Versions!.map((version) => version.VersionId)).toEqual([two.VersionId, one.VersionId]);
    expect(history.DeleteMarkers).toMatchObject([{ VersionId: deleted.VersionId, IsLatest: true }]);
    expect((await listed("versioned")).keys).toEqual([]);
    await target.s3.send(new DeleteObjectCommand({ ...key("versioned"), VersionId: deleted.VersionId }));
    expect((await get("versioned")).text).toBe("two");
    await target.s3.send(new DeleteObjectCommand({ ...key("versioned"), VersionId: two.VersionId }));
    expect((await get("versioned")).text).toBe("one");
  });

  test("versions list page by page, also inside one key", async () => {
    for (const text of ["1", "2", "3"]) await put("paged-versions", text);
    const seen: string[] = [];
    let markers: { KeyMarker?: string | undefined; VersionIdMarker?: string | undefined } = {};
    for (let page = 0; page < 5; page++) {
      const answer = await target.s3.send(
        new ListObjectVersionsCommand({
          Bucket: target.bucket,
          Prefix: `${target.prefix}paged-versions`,
          MaxKeys: 2,
          ...markers,
        }),
      );
      for (const { VersionId } of answer.Versions ?? []) {
        seen.push((await get("paged-versions", { VersionId })).text);
      }
      if (!answer.IsTruncated) break;
      markers = { KeyMarker: answer.NextKeyMarker, VersionIdMarker: answer.NextVersionIdMarker };
    }
    expect(seen).toEqual(["3", "2", "1"]);
  });

  test("many keys are deleted in one call, absent ones too", async () => {
    await Promise.all(["x", "y & z", "w"].map((name) => put(`heap/${name}`, name)));
    const Objects = ["x", "y & z", "absent"].map((name) => ({ Key: `${target.prefix}heap/${name}` }));
    const answer = await target.s3.send(
      new DeleteObjectsCommand({ Bucket: target.bucket, Delete: { Objects } }),
    );
    expect(answer.Errors ?? []).toEqual([]);
    expect(answer.Deleted).toHaveLength(3);
    expect((await listed("heap/")).keys).toEqual(["w"]);
  });

  test("a body that differs from its checksum is refused and changes nothing", async () => {
    await put("checked", "kept");
    const wrong = createHash("md5").update("other").digest("base64");
    await expect(put("checked", "body", { ContentMD5: wrong })).rejects.toMatchObject({ name: "BadDigest" });
    await expect(put("checked", "body", { ContentMD5: "short" })).rejects.toMatchObject({
      name: "InvalidDigest",
    });
    await expect(put("checked", "body", { ChecksumCRC32: "AAAAAA==" })).rejects.toMatchObject({
      name: "BadDigest",
    });
    const sha = createHash("sha256").update("other").digest("base64");
    await expect(put("checked", "body", { ChecksumSHA256: sha })).rejects.toMatchObject({
      name: "BadDigest",
    });
    expect((await get("checked")).text).toBe("kept");
  });

  test.each(["CRC32", "CRC32C", "SHA1", "SHA256"] as const)(
    "%s of a body is kept and given back",
    async (algorithm) => {
      await put(`summed-${algorithm}`, "sediment", { ChecksumAlgorithm: algorithm });
      const read = await get(`summed-${algorithm}`, { ChecksumMode: "ENABLED" });
      expect(read[`Checksum${algorithm}`]).toMatch(/^[A-Za-z0-9+/]+=*$/);
      expect(read.text).toBe("sediment");
    },
  );

  test("a multipart upload is one object; nothing is seen before it completes", async () => {
    const parts = [noise(5 * mebibyte), noise(5 * mebibyte).reverse(), Buffer.from("tail")];
    const { UploadId } = await target.s3.send(new CreateMultipartUploadCommand(key("parts")));
    const Parts = await Promise.all(
      parts.map(async (Body, n) => {
        const input = { ...key("parts"), UploadId, PartNumber: n + 1, Body };
        const { ETag, ChecksumCRC32 } = await target.s3.send(new UploadPartCommand(input));
        return { PartNumber: n + 1, ETag, ChecksumCRC32 };
      }),
    );
    await expect(get("parts")).rejects.toMatchObject({ name: "NoSuchKey" });
    const complete = () =>
      target.s3.send(
        new CompleteMultipartUploadCommand({
          ...key("parts"),
          UploadId,
          MultipartUpload: { Parts },
          IfNoneMatch: "*",
        }),
      );
    const { ETag } = await complete();
    expect(ETag).toMatch(/-3"$/);
    const read = await target.s3.send(new GetObjectCommand(key("parts")));
    const bytes = Buffer.from(await read.Body!.transformToByteArray());
    expect(bytes.equals(Buffer.concat(parts))).toBe(true);
    const seam = await get("parts", { Range: `bytes=${10 * mebibyte - 2}-${10 * mebibyte + 1}` });
    expect(seam.text.endsWith("ta")).toBe(true);
  });

  test("a multipart upload over an existing object loses its If-None-Match", async () => {
    await put("taken", "here first");
    const { UploadId } = await target.s3.send(new CreateMultipartUploadCommand(key("taken")));
    const part = await target.s3.send(
      new UploadPartCommand({ ...key("taken"), UploadId, PartNumber: 1, Body: "late" }),
    );
    const Parts = [{ PartNumber: 1, ETag: part.ETag, ChecksumCRC32: part.ChecksumCRC32 }];
    const late = target.s3.send(
      new CompleteMultipartUploadCommand({
        ...key("taken"),
        UploadId,
        MultipartUpload: { Parts },
        IfNoneMatch: "*",
      }),
    );
    await expect(late).rejects.toMatchObject({ $metadata: { httpStatusCode: 412 } });
    expect((await get("taken")).text).toBe("here first");
  });

  test("lib-storage uploads a large body in parts", async () => {
    const Body = noise(12 * mebibyte);
    await new Upload({ client: target.s3, params: { ...key("uploaded"), Body } }).done();
    const read = await target.s3.send(new GetObjectCommand(key("uploaded")));
    expect(Buffer.from(await read.Body!.transformToByteArray()).equals(Body)).toBe(true);
  });

  test("a copy has the source's bytes and metadata", async () => {
    await put("source é+", "copied", { Metadata: { from: "here" } });
    const CopySource = encodeURIComponent(`${target.bucket}/${target.prefix}source é+`).replaceAll(
      "%2F",
      "/",
    );
    await target.s3.send(new CopyObjectCommand({ ...key("copy"), CopySource }));
    expect(await get("copy")).toMatchObject({ text: "copied", Metadata: { from: "here" } });
  });

  test("an unknown bucket is NoSuchBucket", async () => {
    const Bucket = `${target.bucket}-which-does-not-exist`;
    await expect(target.s3.send(new ListObjectsV2Command({ Bucket }))).rejects.toMatchObject({
      name: "NoSuchBucket",
    });
  });
});
