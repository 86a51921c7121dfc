// Tensors of the encoder of images, which texts do not pass: by the names each form of a model gives them.

/** In folders of Hugging Face's and Meta's: names that no GGUF file has. */
export const isFolderVision = (name: string): boolean =>
  /^((model\.)?(vision_model|vision_tower|multi_modal_projector)|vision_embeddings|vision_projection)\./.test(name);

/** In any form; `v.` and `mm.` are Ollama's, and those of llama.cpp's projector files. */
export const isVision = (name: string): boolean => /^(v|mm)\./.test(name) || isFolderVision(name);
