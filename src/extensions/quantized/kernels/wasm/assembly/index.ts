// Matrices in blocks, unpacked into numbers: a module of its own, which only the entry for them loads. It works in the
// memory of tfjs's wasm backend.

export {multiplyRow, unpackColumns, unpackRows} from './unpack';
