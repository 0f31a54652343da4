/** A response that reports its progress in bytes. `total` is 0 if its size is not known. */
export function counted(response: Response, onProgress: (done: number, total: number) => void): Response {
  const total = Number(response.headers.get('content-length') ?? 0);
  let done = 0;
  const counter = new TransformStream<Uint8Array, Uint8Array>({
    transform: (chunk, controller) => {
      done += chunk.length;
      onProgress(done, total);
      controller.enqueue(chunk);
    },
  });
  return new Response(response.body!.pipeThrough(counter), {headers: response.headers});
}
