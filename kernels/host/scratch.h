// Room that a thread keeps from call to call. A few megabytes of fresh pages for each frame take the system
// longer than it takes to fill them.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <vector>

namespace matter {

// What is taken from a Scratch is good until it dies, and then stays with the thread for the next one.
class Scratch {
public:
    Scratch() : block_(room().block), used_(room().used) {}
    ~Scratch() {
        room().block = block_;
        room().used = used_;
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    // `count` values with whatever is in memory. T needs no constructor and no destructor.
    template <typename T>
    T* take(long long count) {
        const std::size_t bytes = (std::size_t(count) * sizeof(T) + line - 1) / line * line;
        Room& r = room();
        while (r.block < r.blocks.size() && r.used + bytes > r.blocks[r.block].size) {
            ++r.block;
            r.used = 0;
        }
        if (r.block == r.blocks.size()) {
            const std::size_t size = bytes > least ? bytes : least;
            r.blocks.push_back({std::unique_ptr<void, Free>(::operator new(size, alignment)), size});
        }
        T* at = reinterpret_cast<T*>(static_cast<std::byte*>(r.blocks[r.block].memory.get()) + r.used);
        r.used += bytes;
        return at;
    }

private:
    static constexpr std::size_t line = 64, least = 1 << 20;
    static constexpr std::align_val_t alignment{line};

    struct Free {
        void operator()(void* memory) const { ::operator delete(memory, alignment); }
    };
    struct Block {
        std::unique_ptr<void, Free> memory;
        std::size_t size;
    };
    struct Room {
        std::vector<Block> blocks;
        std::size_t block = 0, used = 0;
    };

    static Room& room() {
        static thread_local Room room;
        return room;
    }

    std::size_t block_, used_;
};

}  // namespace matter
