import {bytesOf, fetched, type SourceOptions, type StreamSource} from '../../../core/storage/sources';

/** Where an ONNX file comes from: bytes, a Blob, a Response, a URL; in Node a path too. */
export type ONNXSource = StreamSource | PromiseLike<StreamSource>;

/** The bytes of a source; those that are already in memory are not copied. */
export async function bytesAt(source: ONNXSource, limits: SourceOptions): Promise<Uint8Array> {
  const resolved = await source;
  if (resolved instanceof Uint8Array && resolved.length <= (limits.maxBytes ?? Infinity)) {
    return resolved;
  }
  return bytesOf(
    typeof resolved === 'string' || resolved instanceof URL ? await fetched(resolved, limits) : resolved,
    limits,
  );
}
