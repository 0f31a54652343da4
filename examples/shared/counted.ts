/** A response that tells how much of it has come, in bytes. Where nothing says how much there will be, `total` is 0. */
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
