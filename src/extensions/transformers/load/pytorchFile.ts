/** How to convert a PyTorch file, which is a pickle: reading one can run code. */
export const PYTORCH_TO_SAFETENSORS =
  'Files of PyTorch (.bin, .pt) can run code when they are read, and are not supported. Convert yours in Python: ' +
  'import torch, safetensors.torch as s; ' +
  "s.save_file({k: v.clone() for k, v in torch.load('pytorch_model.bin', weights_only=True).items()}, " +
  "'model.safetensors', {'format': 'pt'})";

/** Whether a file begins as one of PyTorch: as a ZIP archive, or pickled as in old versions. */
export function isPyTorchFile(first: Uint8Array): boolean {
  const begins = (bytes: readonly number[]) => bytes.every((byte, i) => first[i] === byte);
  return begins([0x50, 0x4b, 3, 4]) || begins([0x80, 2, 0x8a, 0x0a]);
}
