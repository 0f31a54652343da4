import type {OnnxModel} from './readOnnx';

/** Gives the tensors of a file that are in other files their bytes. */
export async function supplyExternal(
  {graph: {initializers}}: OnnxModel,
  read: (location: string) => Promise<Uint8Array>,
): Promise<void> {
  const outside = [...initializers.values()].flatMap(tensor =>
    tensor.external ? [[tensor.external, tensor] as const] : [],
  );
  for (const location of new Set(outside.map(([place]) => place.location))) {
    const bytes = await read(location);
    outside.filter(([place]) => place.location === location).forEach(([, tensor]) => tensor.supply(bytes));
  }
}
